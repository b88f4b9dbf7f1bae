/* #NM: every setting of CR0.MP, EM and TS against x87, WAIT, MMX, SSE (SDM 3, table 9-3 and 2-2). */
#include "guest.h"

int main(void)
{
    ulong cr0 = cr0_read() & ~(ulong)(CR0_MP | CR0_EM | CR0_TS);

    cr4_write(CR4_OSFXSR);
    for (unsigned bits = 0; bits < 8; bits++) {
        ulong v = cr0 | bits << 1; /* bit 0 MP, bit 1 EM, bit 2 TS */
        bool mp = bits & 1, em = bits & 2, ts = bits & 4;
        const char *s[8] = {"-", "MP", "EM", "MP EM", "TS", "MP TS", "EM TS", "MP EM TS"};

        cr0_write(cr0);
        asm volatile("fninit");
        cr0_write(v);
        TRY("fnop", );
        check_fault(em || ts ? NM : -1, 0, "x87 with %s", s[bits]);
        TRY("fnstsw %%ax", ::"eax");
        check_fault(em || ts ? NM : -1, 0, "FNSTSW with %s", s[bits]);
        TRY("fwait", );
        check_fault(mp && ts ? NM : -1, 0, "WAIT with %s", s[bits]);
        TRY("movd %%eax, %%mm0", );
        check_fault(em ? UD : ts ? NM : -1, 0, "MMX with %s", s[bits]);
        TRY("xorps %%xmm0, %%xmm0", );
        check_fault(em ? UD : ts ? NM : -1, 0, "SSE with %s", s[bits]);
        TRY("sfence", );
        check_fault(-1, 0, "SFENCE with %s", s[bits]);
        static u8 area[512] __attribute__((aligned(16)));
        TRY("fxsave %0", "=m"(area));
        check_fault(em ? UD : ts ? NM : -1, 0, "FXSAVE with %s", s[bits]);
    }
    cr0_write(cr0 | CR0_TS);
    asm volatile("clts");
    check_eq(cr0_read(), cr0, "CLTS clears TS and nothing else");

    /* LMSW sets PE MP EM TS, cannot clear PE */
    asm volatile("lmsw %w0" ::"r"(0xa));
    check_eq(cr0_read(), cr0 | CR0_TS | CR0_MP, "LMSW sets TS and MP and cannot clear PE");
    asm volatile("lmsw %w0" ::"r"(0xfff0));
    check_eq(cr0_read(), cr0, "LMSW touches the low four bits only");
    return 0;
}
