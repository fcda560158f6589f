/*
 * guest.S: a guest of one boot sector for the tests of the QEMU door. What it does is the letter at 0x1B0:
 *   P  powers off at once                     W  waits for the ACPI power button, then powers off
 *   F  writes the disk full, sector by sector  R  reads the disk without end
 *   X  panics (pvpanic)                        T  restarts the machine
 * It says "ready" on the serial port first; F and R say '.' for 127 sectors that went well, '!' for an error.
 */
    .code16
    .globl _start
_start:
    ljmp $0, $1f
1:  xor %ax, %ax
    mov %ax, %ds
    mov %ax, %es
    mov %ax, %ss
    mov $0x7c00, %sp
    sti
    cld
    mov $ready, %si
2:  lodsb
    test %al, %al
    jz 3f
    call say
    jmp 2b
3:  mov mode, %al
    cmp $'P', %al
    je off
    cmp $'W', %al
    je button
    cmp $'X', %al
    je panic
    cmp $'T', %al
    je restart
    mov $0x42, %bh              /* int 13h: extended read */
    cmp $'R', %al
    je disk
    mov $0x1000, %ax            /* zeroes would be written as nothing */
    mov %ax, %es
    xor %di, %di
    mov $0x8000, %cx
    mov $0xa5a5, %ax
    rep stosw
    mov $0x43, %bh              /* extended write */
disk:
    push %bx
    mov %bh, %ah
    xor %al, %al
    mov $packet, %si
    mov $0x80, %dl
    int $0x13
    pop %bx
    mov $'.', %al
    jnc 4f
    mov $'!', %al
4:  call say
    addl $128, sector
    cmpl $0x10000, sector       /* 32 MiB, then from the start again */
    jb disk
    movl $128, sector
    jmp disk

panic:
    mov $1, %al
    mov $0x505, %dx
    out %al, %dx
    jmp halt

restart:
    mov $6, %al
    mov $0xcf9, %dx
    out %al, %dx
    jmp halt

button:                         /* the PM block's address is in register 0x40 of the ICH9 LPC bridge, 00:1f.0 */
    mov $0x8000f840, %eax
    mov $0xcf8, %dx
    out %eax, %dx
    mov $0xcfc, %dx
    in %dx, %eax
    and $0xff80, %ax
    mov %ax, %dx
    mov $0x100, %ax             /* PWRBTN_STS is cleared by writing it */
    out %ax, %dx
    add $2, %dx                 /* without PWRBTN_EN the status is not set either */
    out %ax, %dx
    sub $2, %dx
5:  in %dx, %ax
    test $0x100, %ax
    jz 5b

off:                            /* APM: connect, version 1.2, off */
    mov $0x5301, %ax
    xor %bx, %bx
    int $0x15
    mov $0x530e, %ax
    xor %bx, %bx
    mov $0x0102, %cx
    int $0x15
    mov $0x5307, %ax
    mov $1, %bx
    mov $3, %cx
    int $0x15
halt:
    hlt
    jmp halt

say:
    push %ax
    push %dx
    mov $0x3fd, %dx
6:  in %dx, %al
    test $0x20, %al
    jz 6b
    pop %dx
    pop %ax
    push %dx
    mov $0x3f8, %dx
    out %al, %dx
    pop %dx
    ret

ready: .asciz "ready\r\n"
    .balign 4
packet: .byte 16, 0
    .word 127
    .word 0, 0x1000             /* buffer 1000:0000 */
sector: .quad 128
    .org 0x1b0
mode: .byte 'P'
    .org 510
    .word 0xaa55
