/* What Rust's standard library asks of an unwinder, answered for a program that aborts on a panic and has no
 * tables to unwind by: there is no frame to be seen. */

enum { END_OF_STACK = 5 };
typedef unsigned long word;

int _Unwind_Backtrace(void *trace, void *data) { (void)trace; (void)data; return END_OF_STACK; }
int _Unwind_RaiseException(void *exception) { (void)exception; return END_OF_STACK; }
_Noreturn void _Unwind_Resume(void *exception) { (void)exception; __builtin_trap(); }
void _Unwind_DeleteException(void *exception) { (void)exception; }
word _Unwind_GetIP(void *context) { (void)context; return 0; }
word _Unwind_GetIPInfo(void *context, int *before) { (void)context; *before = 0; return 0; }
word _Unwind_GetCFA(void *context) { (void)context; return 0; }
word _Unwind_GetLanguageSpecificData(void *context) { (void)context; return 0; }
word _Unwind_GetRegionStart(void *context) { (void)context; return 0; }
word _Unwind_GetTextRelBase(void *context) { (void)context; return 0; }
word _Unwind_GetDataRelBase(void *context) { (void)context; return 0; }
void _Unwind_SetGR(void *context, int n, word value) { (void)context; (void)n; (void)value; }
void _Unwind_SetIP(void *context, word value) { (void)context; (void)value; }
void *_Unwind_FindEnclosingFunction(void *pc) { (void)pc; return 0; }
