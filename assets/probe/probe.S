/*
 * probe.S: the payload that proves an accelerator. It is the whole firmware of a machine without disks
 * (`-bios`), so nothing but the accelerator is judged. GNU as, AT&T syntax; build with build.sh.
 *
 * Loaded so that its last byte is the last byte below 4 GiB. The CPU starts 16 bytes before that end, in real
 * mode with CS base 0xFFFF0000. The chipset shows the same bytes below 1 MiB, where long mode runs them.
 *
 * Way: reset vector -> protected mode -> page tables in RAM -> 64-bit long mode -> CHUNKS times:
 *   LOOPS  plain loop turns            (the speed of ordinary code)
 *   REMAPS page table changes + invlpg (slow where page tables are shadowed, as in nested virtualisation)
 *   PORTS  reads of an I/O port        (each one leaves the guest: the price of an exit)
 * A byte to port 0xE9 after each chunk, 'S' before the first; then isa-debug-exit ends the machine.
 * The host takes the times: the guest's clocks are not to be trusted here.
 *
 * The numbers must agree with src/hypervisor/qemu/probe.rs.
 */
    .set CHUNKS, 20
    .set LOOPS, 4000000
    .set REMAPS, 200
    .set PORTS, 50

    .set SIZE, 512                  /* of the file; the host pads it in front to 64 KiB */
    .set LOW, 0x100000 - SIZE       /* where long mode and the descriptors see this file */
    .set PML4, 0x10000
    .set PDPT, 0x11000
    .set PD, 0x12000
    .set WINDOW, 0x3fe00000         /* the virtual 2 MiB page that is mapped to and fro */
    .set WINDOW_ENTRY, PD + 511 * 8

    .text
start:
    .code16
realmode:
    cli
    lgdtl %cs:(0x10000 - SIZE + gdt_pointer - start)
    mov %cr0, %eax
    or $1, %al
    mov %eax, %cr0
    ljmpl $0x08, $(LOW + protected - start)

    .code32
protected:
    mov $0x10, %ax
    mov %ax, %ds
    mov %ax, %es
    mov %ax, %ss
    mov $0x8000, %esp
    cld
    mov $PML4, %edi                 /* three empty tables */
    xor %eax, %eax
    mov $(3 * 4096 / 4), %ecx
    rep stosl
    movl $(PDPT + 3), PML4
    movl $(PD + 3), PDPT
    mov $PD, %edi                   /* the first GiB, one to one, in 2 MiB pages */
    mov $0x83, %eax
    mov $512, %ecx
1:  mov %eax, (%edi)
    add $0x200000, %eax
    add $8, %edi
    loop 1b
    mov %cr4, %eax
    or $0x20, %eax                  /* PAE */
    mov %eax, %cr4
    mov $PML4, %eax
    mov %eax, %cr3
    mov $0xc0000080, %ecx           /* EFER.LME */
    rdmsr
    or $0x100, %eax
    wrmsr
    mov %cr0, %eax
    or $0x80000000, %eax            /* paging on: long mode is active */
    mov %eax, %cr0
    ljmpl $0x18, $(LOW + long - start)

    .code64
long:
    mov $'S', %al
    out %al, $0xe9
    mov $CHUNKS, %r8d
chunk:
    mov $LOOPS, %ecx
    xor %ebx, %ebx
2:  add %rcx, %rbx
    dec %rcx
    jnz 2b

    mov $REMAPS, %ecx
3:  mov %ecx, %eax                  /* the window shows 0..2 MiB or 2..4 MiB in turn */
    and $1, %eax
    shl $21, %eax
    or $0x83, %eax
    mov %rax, WINDOW_ENTRY
    invlpg WINDOW
    mov WINDOW + 0x20000, %rax
    dec %ecx
    jnz 3b

    mov $PORTS, %ecx
4:  in $0x71, %al
    dec %ecx
    jnz 4b

    mov $'.', %al
    out %al, $0xe9
    dec %r8d
    jnz chunk

    mov $0x10, %eax                 /* QEMU ends with 0x10 * 2 + 1 = 33 */
    mov $0xf4, %dx
    out %eax, %dx
5:  hlt
    jmp 5b

    .balign 8
gdt:                                /* "accessed" is set already: this memory can't be written */
    .quad 0
    .quad 0x00cf9b000000ffff        /* 0x08: code, 32 bit */
    .quad 0x00cf93000000ffff        /* 0x10: data */
    .quad 0x00af9b000000ffff        /* 0x18: code, 64 bit */
gdt_pointer:
    .word gdt_pointer - gdt - 1
    .long LOW + gdt - start

    .org SIZE - 16
reset:
    .code16
    jmp realmode
    .org SIZE
