//! What PocketVM itself puts on a guest's disks: the swap area or the volume for a page file that it finds on its paging disk, and
//! the disk that is the memory of its TPM. What is installed on its other disks is the business of `pocketvm-guest`.

pub mod pagefile;
pub mod swap;
pub mod tpm;
