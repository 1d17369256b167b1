//go:build !race

#include "textflag.h"

// func count(c *Count, n uint64)
TEXT ·count(SB), NOSPLIT, $0-16
	MOVQ c+0(FP), AX
	MOVQ n+8(FP), CX
	ADDQ CX, 0(AX)
	RET

// func add(p *Pair, a, b uint64)
TEXT ·add(SB), NOSPLIT, $0-24
	MOVQ p+0(FP), AX
	MOVQ a+8(FP), CX
	MOVQ b+16(FP), DX
	ADDQ CX, 0(AX)
	ADDQ DX, 8(AX)
	RET
