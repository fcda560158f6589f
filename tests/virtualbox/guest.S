/*
 * guest.S: a guest of two kilobytes that runs on every PC with a BIOS, also in an interpreter: under QEMU and VirtualBox in turns.
 *
 * It counts on each of its disks how often it ran there (sector 8: "HVMK", then the count), says "disk N count C" for each,
 * then "ready". What it does then is the letter at 0x1B0 of its first sector:
 *   P  powers off at once           W  waits for the ACPI power button, then powers off
 *   F  writes the second disk full, and says '.' for 127 sectors that went well, '!' for an error
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
    mov $rest, %si              /* the other three sectors */
    mov $0x42, %ah
    mov $0x80, %dl
    int $0x13
    jnc begin
halt:
    hlt
    jmp halt

say:                            /* the character in al, on the serial port */
    push %dx
    push %ax
    mov $0x3fd, %dx
2:  in %dx, %al
    test $0x20, %al
    jz 2b
    pop %ax
    mov $0x3f8, %dx
    out %al, %dx
    pop %dx
    ret

tell:                           /* the text at si */
    lodsb
    test %al, %al
    jz 3f
    call say
    jmp tell
3:  ret

    .balign 4
rest: .byte 16, 0
    .word 3, 0x7e00, 0
    .quad 1
    .org 0x1b0
mode: .byte 'P'
    .org 510
    .word 0xaa55

begin:
    movb $0x80, disk
count:
    mov $0x42, %ah
    mov $mark, %si
    mov disk, %dl
    int $0x13
    jc next
    movl $0x4b4d5648, 0x9000    /* HVMK */
    incl 0x9004
    mov $0x43, %ah
    xor %al, %al
    mov $mark, %si
    mov disk, %dl
    int $0x13
    jc next
    mov $text_disk, %si
    call tell
    mov disk, %al
    sub $0x50, %al              /* 0x80 becomes '0' */
    call say
    mov $text_count, %si
    call tell
    mov 0x9004, %al
    add $'0', %al
    call say
    mov $text_end, %si
    call tell
next:
    incb disk
    cmpb $0x88, disk
    jb count
    mov $text_ready, %si
    call tell
    mov mode, %al
    cmp $'W', %al
    je button
    cmp $'F', %al
    je fill
off:
    mov $text_off, %si
    call tell
    mov $0x5301, %ax            /* APM: connect, version 1.2, off */
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
    jmp halt

button:                         /* PIIX4's power management, or the LPC bridge of ICH9: both keep the address in register 0x40 */
    mov $0x80000000, %ebx
4:  mov %ebx, %eax
    mov $0xcf8, %dx
    out %eax, %dx
    mov $0xcfc, %dx
    in %dx, %eax
    cmp $0x71138086, %eax
    je 5f
    cmp $0x29188086, %eax
    je 5f
    add $0x100, %ebx
    cmp $0x80010000, %ebx
    jb 4b
    jmp off
5:  lea 0x40(%ebx), %eax
    mov $0xcf8, %dx
    out %eax, %dx
    mov $0xcfc, %dx
    in %dx, %eax
    and $0xffc0, %ax
    mov %ax, %dx
    mov $0x100, %ax             /* PWRBTN_STS is cleared by writing it */
    out %ax, %dx
    add $2, %dx                 /* PWRBTN_EN: without it the status is not set either */
    out %ax, %dx
    sub $2, %dx
    mov $text_waits, %si
    push %dx
    call tell
    pop %dx
6:  in %dx, %ax
    test $0x100, %ax
    jz 6b
    mov $text_pressed, %si
    call tell
    jmp off

fill:
    mov $0x1000, %ax            /* zeroes would be written as nothing */
    mov %ax, %es
    xor %di, %di
    mov $0x8000, %cx
    mov $0xa5a5, %ax
    rep stosw
7:  mov $0x43, %ah
    xor %al, %al
    mov $packet, %si
    mov $0x81, %dl
    int $0x13
    mov $'.', %al
    jnc 8f
    mov $'!', %al
8:  call say
    addl $127, sector
    cmpl $0x18000, sector       /* 48 MiB, then it is done */
    jb 7b
    jmp off

    .balign 4
mark: .byte 16, 0
    .word 1, 0x9000, 0
    .quad 8
packet: .byte 16, 0
    .word 127, 0, 0x1000        /* buffer 1000:0000 */
sector: .quad 128
disk: .byte 0
text_disk: .asciz "disk "
text_count: .asciz " count "
text_end: .asciz "\r\n"
text_ready: .asciz "ready\r\n"
text_waits: .asciz "waits\r\n"
text_pressed: .asciz "pressed\r\n"
text_off: .asciz "off\r\n"
    .org 2048
