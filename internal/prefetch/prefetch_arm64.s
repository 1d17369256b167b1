#include "textflag.h"

// func span(p unsafe.Pointer, n uintptr)
TEXT ·span(SB), NOSPLIT, $0-16
	MOVD p+0(FP), R0
	MOVD n+8(FP), R1
	ADD  R0, R1
	AND  $~63, R0

next:
	PRFM (R0), PLDL1KEEP
	ADD  $64, R0
	CMP  R1, R0
	BLO  next
	RET

// func ask(l *List)
TEXT ·ask(SB), NOSPLIT, $0-8
	MOVD l+0(FP), R0
	ADD  $56, R0, R1 // lines, which end with 0

piece:
	MOVBU (R1), R3
	CBZ   R3, done
	MOVD  (R0), R2

line:
	PRFM (R2), PLDL1KEEP
	ADD  $64, R2
	SUB  $1, R3
	CBNZ R3, line
	ADD  $8, R0
	ADD  $1, R1
	B    piece

done:
	RET
