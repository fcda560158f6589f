/* bcryptprimitives.dll, which Wine has since version 9: Rust takes random numbers from its one function that counts. */
#include <windows.h>
#include <ntsecapi.h>

__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE data, SIZE_T length)
{
    return RtlGenRandom(data, (ULONG)length);
}
