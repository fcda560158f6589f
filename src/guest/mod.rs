//! What a guest's disks look like from outside: for now the swap area that it finds on its paging disk.

pub mod swap;
