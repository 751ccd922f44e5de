# The second CPU is woken, and says so. Intel SDM volume 3, 10.6.1: the interrupt command register.
    .include "common.inc"
    .set TRAMPOLINE, 0x8000
    .set ICR, 0xfee00300
main:
    mov $trampoline, %esi
    mov $TRAMPOLINE, %edi
    mov $(trampoline_end - trampoline), %ecx
    rep movsb
    movl $0xfee000f0, %eax
    orl $0x100, (%eax)
    # To all but itself: INIT, then start at TRAMPOLINE.
    movl $0x000c4500, ICR
    movl $(0x000c4600 | TRAMPOLINE >> 12), ICR
    movl $(0x000c4600 | TRAMPOLINE >> 12), ICR
1:  pause
    cmpw $0x5a5a, TRAMPOLINE + flag - trampoline
    jne 1b
    SAY "PASS: the second CPU runs\n"
    END 0

    .code16
trampoline:
    movw $0x5a5a, %cs:(flag - trampoline)
1:  hlt
    jmp 1b
flag:
    .word 0
trampoline_end:
