# It turns a PC off: ACPI's PM1a control register, SLP_TYP 0 and SLP_EN.
    .include "common.inc"
main:
    SAY "bye\n"
    mov $0x604, %dx
    mov $0x2000, %ax
    out %ax, %dx
    jmp .
