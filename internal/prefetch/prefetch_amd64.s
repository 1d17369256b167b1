#include "textflag.h"

// func span(p unsafe.Pointer, n uintptr)
TEXT ·span(SB), NOSPLIT, $0-16
	MOVQ p+0(FP), AX
	MOVQ n+8(FP), CX
	ADDQ AX, CX
	ANDQ $~63, AX

next:
	PREFETCHT0 (AX)
	ADDQ $64, AX
	CMPQ AX, CX
	JLO  next
	RET

// func ask(l *List)
TEXT ·ask(SB), NOSPLIT, $0-8
	MOVQ l+0(FP), SI
	LEAQ 56(SI), DI // lines, which end with 0

piece:
	MOVBLZX (DI), CX
	TESTL   CX, CX
	JEQ     done
	MOVQ    (SI), AX

line:
	PREFETCHT0 (AX)
	ADDQ $64, AX
	DECL CX
	JNE  line
	ADDQ $8, SI
	INCQ DI
	JMP  piece

done:
	RET
