    .section .header, "ax"
    .arm
    .global _start
_start:
    b begin
    .space 156                  @ no publisher's picture
    .ascii "QUEST\0\0\0\0\0\0\0"
    .ascii "QSTE"
    .ascii "01"
    .byte 0x96, 0, 0
    .space 7
    .byte 0                     @ version
    .byte 0x21                  @ sum of the header, as the console checks it
    .space 2
begin:
    mov r0, #0x12               @ interrupt mode's stack, then the game's
    msr cpsr_c, r0
    ldr sp, =0x03007FA0
    mov r0, #0x1F
    msr cpsr_c, r0
    ldr sp, =0x03007F00
    ldr r0, =main
    bx r0
    .pool
