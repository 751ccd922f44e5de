# What it writes is not UTF-8.
    .include "common.inc"
main:
    SAY "\377\376\200 \033[31m\nPASS: after \377\n"
    END 0
