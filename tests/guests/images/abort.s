# It gives up: 127 >> 1.
    .include "common.inc"
main:
    SAY "PASS: adds\nABORT: assert failed: x86/abort.c:1: false\n"
    END 63
