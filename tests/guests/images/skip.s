# None of it applies: 77 >> 1.
    .include "common.inc"
main:
    SAY "SKIP: no such CPU\nSUMMARY: 1 tests, 1 skipped\n"
    END 38
