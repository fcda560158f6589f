/*
 * tpm.S: a guest of one sector that asks its TPM whether it knows it, on every PC with a BIOS, also in an interpreter.
 *
 * It defines a place in the TPM's memory (TPM2_NV_DefineSpace, index 0x01500001) and says "tpm new" if that was possible, "tpm known"
 * if the place was there, "tpm none" without a TPM, and the TPM's answer for anything else. What it does then is the letter at
 * 0x1B0:
 *   P  powers off at once           H  halts
 *
 * The TPM is at the address, and speaks the protocol, of "TCG PC Client Platform TPM Profile for TPM 2.0", 6.5 (FIFO).
 */
    .code16
    .globl _start
    .set access, 0x00
    .set status, 0x18
    .set fifo, 0x24
_start:
    ljmp $0, $1f
1:  xor %ax, %ax
    mov %ax, %ds
    mov %ax, %es
    mov %ax, %ss
    mov $0x7c00, %sp
    cld
    in $0x92, %al               /* VirtualBox' BIOS leaves the line of address bit 20 off */
    or $2, %al
    and $0xfe, %al
    out %al, $0x92
    cli
    lgdt table                  /* %fs reaches all of the first 4 GiB from now on */
    mov %cr0, %eax
    or $1, %al
    mov %eax, %cr0
    jmp 2f
2:  mov $8, %bx
    mov %bx, %fs
    and $0xfe, %al
    mov %eax, %cr0
    ljmp $0, $3f
3:  sti
    mov $0xfed40000, %ebx
    mov $text_none, %si
    movb $0x02, %fs:access(%ebx)        /* we want to use it */
    mov $0xffff, %cx
4:  mov %fs:access(%ebx), %al
    cmp $0xff, %al
    je answer
    test $0x20, %al
    loopz 4b
    jz answer
    mov $startup, %si
    mov $12, %cx
    call send                           /* the BIOS may have done it: whatever it says */
    mov $define, %si
    mov $45, %cx
    call send
    mov $text_new, %si
    mov response + 8, %ax
    cmp $0x0000, %ax
    je answer
    mov $text_known, %si
    cmp $0x4c01, %ax                    /* TPM_RC_NV_DEFINED */
    je answer
    mov $text_odd, %si
    mov %ax, %dx
    mov %dl, %al
    call hexadecimal
    mov %al, text_digits
    mov %ah, text_digits + 1
    mov %dh, %al
    call hexadecimal
    mov %al, text_digits + 2
    mov %ah, text_digits + 3
answer:
    push %si
    mov $text_tpm, %si
    call tell
    pop %si
    call tell
    cmpb $'P', mode
    jne halt
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
halt:
    hlt
    jmp halt

send:                           /* cx bytes at si; the first ten of the answer to response */
    movb $0x40, %fs:status(%ebx)
5:  testb $0x40, %fs:status(%ebx)
    jz 5b
6:  lodsb
    mov %al, %fs:fifo(%ebx)
    loop 6b
    movb $0x20, %fs:status(%ebx)
7:  mov %fs:status(%ebx), %al
    and $0x90, %al
    cmp $0x90, %al
    jne 7b
    mov $response, %di
    mov $10, %cx
8:  mov %fs:fifo(%ebx), %al
    stosb
    loop 8b
    ret

hexadecimal:                    /* al as two digits in al and ah */
    mov %al, %ah
    shr $4, %al
    and $0x0f, %ah
    add $'0', %al
    add $'0', %ah
    cmp $'9', %al
    jbe 9f
    add $7, %al
9:  cmp $'9', %ah
    jbe 10f
    add $7, %ah
10: ret

tell:                           /* the text at si, on the serial port */
    lodsb
    test %al, %al
    jz 12f
    mov %al, %cl
    mov $0x3fd, %dx
11: in %dx, %al
    test $0x20, %al
    jz 11b
    mov $0x3f8, %dx
    mov %cl, %al
    out %al, %dx
    jmp tell
12: ret

    .balign 8
table: .word 15
    .long table_of_segments - 0         /* base */
    .balign 8
table_of_segments:
    .quad 0
    .quad 0x00cf92000000ffff            /* data, from 0, 4 GiB */

startup: .byte 0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x44, 0, 0
define: .byte 0x80, 0x02, 0, 0, 0, 45, 0, 0, 0x01, 0x2a, 0x40, 0, 0, 0x01
    .byte 0, 0, 0, 9, 0x40, 0, 0, 0x09, 0, 0, 0, 0, 0
    .byte 0, 0
    .byte 0, 14, 0x01, 0x50, 0, 0x01, 0, 0x0b, 0, 0x06, 0, 0x06, 0, 0, 0, 8

text_tpm: .asciz "tpm "
text_none: .asciz "none\r\n"
text_new: .asciz "new\r\n"
text_known: .asciz "known\r\n"
text_odd: .ascii "odd "
text_digits: .asciz "????\r\n"
    .org 0x1b0
mode: .byte 'P'
    .org 510
    .word 0xaa55
    .set response, 0x9000
