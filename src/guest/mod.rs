//! What a guest's disks look like from outside: for now the swap area that it finds on its paging disk, and the disk that is
//! the memory of its TPM.

pub mod swap;
pub mod tpm;
