//go:build !race

#include "textflag.h"

// func count(c *Count, n uint64)
TEXT ·count(SB), NOSPLIT, $0-16
	MOVD c+0(FP), R0
	MOVD n+8(FP), R1
	MOVD 0(R0), R3
	ADD  R1, R3
	MOVD R3, 0(R0)
	RET

// func add(p *Pair, a, b uint64)
TEXT ·add(SB), NOSPLIT, $0-24
	MOVD p+0(FP), R0
	MOVD a+8(FP), R1
	MOVD b+16(FP), R2
	MOVD 0(R0), R3
	MOVD 8(R0), R4
	ADD  R1, R3
	ADD  R2, R4
	MOVD R3, 0(R0)
	MOVD R4, 8(R0)
	RET
