# It ends as after a pass and has written nothing.
    .include "common.inc"
main:
    END 0
