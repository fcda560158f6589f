/*
 * The start of an uncompressed Linux kernel, in place of the decompressor of its bzImage.
 *
 * Unpacking a Debian kernel (xz) takes an emulated processor longer than everything else until the guest is ready.
 * So build.sh unpacks it once, on the host, and puts this in front. The boot loader loads both at 1 MiB and jumps
 * here in 32-bit mode with %esi at the boot parameters (Documentation/arch/x86/boot.rst, "32-bit boot protocol");
 * from here on the kernel's own entry is called as its decompressor would ("64-bit boot protocol"): flat 64-bit
 * segments 0x10 and 0x18, paging on with memory mapped one to one, %rsi at the boot parameters.
 *
 * Assembled with LENGTH and ZEROES, both in bytes and multiples of 8: the kernel's, and what follows it in memory.
 */
        .set BASE, 0x100000             /* where the boot loader puts us */
        .set KERNEL, 0x1000000          /* where the kernel is linked to run; it is not relocated */

        .text
        .code32
start:
        cli
        mov     %esi, %ebx

        /* Maps the first 4 GiB one to one, with 2 MiB pages. */
        movl    $(pml4 - start + BASE), %esp    /* no stack is used: a register like any other */
        movl    $(pdpt - start + BASE + 3), (%esp)
        movl    $(pdpt - start + BASE), %edi
        movl    $(pd - start + BASE + 3), %eax
        movl    $4, %ecx
1:      movl    %eax, (%edi)
        addl    $0x1000, %eax
        addl    $8, %edi
        loop    1b
        movl    $(pd - start + BASE), %edi
        movl    $0x83, %eax                     /* present, writable, 2 MiB */
        movl    $2048, %ecx
2:      movl    %eax, (%edi)
        addl    $0x200000, %eax
        addl    $8, %edi
        loop    2b

        movl    %cr4, %eax
        orl     $0x20, %eax                     /* PAE */
        movl    %eax, %cr4
        movl    %esp, %cr3
        movl    $0xc0000080, %ecx               /* EFER */
        rdmsr
        orl     $0x100, %eax                    /* LME */
        wrmsr
        movl    %cr0, %eax
        orl     $0x80000001, %eax               /* PG, PE */
        movl    %eax, %cr0
        lgdt    (gdt_register - start + BASE)
        ljmp    $0x10, $(long_mode - start + BASE)

        .code64
long_mode:
        movl    $0x18, %eax
        movl    %eax, %ds
        movl    %eax, %es
        movl    %eax, %ss

        /* To its place, from the end: the two overlap. */
        movl    $(kernel - start + BASE + LENGTH - 8), %esi
        movl    $(KERNEL + LENGTH - 8), %edi
        movl    $(LENGTH / 8), %ecx
        std
        rep movsq
        cld
        movl    $(KERNEL + LENGTH), %edi
        movl    $(ZEROES / 8), %ecx
        xorl    %eax, %eax
        rep stosq

        movl    %ebx, %esi
        movl    $KERNEL, %eax
        jmp     *%rax

        .balign 8
gdt:    .quad   0, 0
        .quad   0x00af9a000000ffff              /* 0x10: code, 64 bits */
        .quad   0x00cf92000000ffff              /* 0x18: data */
gdt_register:
        .word   . - gdt - 1
        .long   gdt - start + BASE

        .balign 4096
pml4:   .skip   4096
pdpt:   .skip   4096
pd:     .skip   4 * 4096
kernel:
