package esp

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// sealRaw seals a plaintext that brings its own padding, pad length and next header, right or wrong. Its length must be a
// multiple of the suite's block.
func sealRaw(tb testing.TB, out *Outbound, s *Scratch, plain []byte) []byte {
	tb.Helper()
	if len(plain)%out.size.block != 0 {
		tb.Fatalf("%d bytes of plaintext do not fill blocks of %d", len(plain), out.size.block)
	}
	b := make([]byte, out.HeaderLen()+len(plain)+out.size.icv)
	copy(b[out.HeaderLen():], plain)
	run := out.Reserve(1)
	defer run.End()
	run.seal(s, b, b[out.HeaderLen():out.HeaderLen()+len(plain)])
	return b
}

// framed returns an inner packet with a trailer, of whatever length fills blocks of 16: any suite takes it.
func framed(inner []byte, next byte) []byte {
	b := bytes.Clone(inner)
	pad := -(len(b) + 2) & 15
	for i := range pad {
		b = append(b, byte(i+1))
	}
	return append(b, byte(pad), next)
}

func TestWhatIsInsideIsChecked(t *testing.T) {
	four, six := innerPacket(4, 40, 0), innerPacket(6, 60, 0)
	damaged := func(at int) []byte { // 40 bytes, padding in 40 to 45, pad length in 46
		b := framed(four, 4)
		b[at] ^= 0x80
		return b
	}
	long := make([]byte, 48)
	long[0], long[46], long[47] = 0x45, 47, 4
	whole := make([]byte, 256) // 254 bytes of padding and nothing else
	copy(whole[254:], framed(make([]byte, 254), 4)[254:])
	for i := range 254 {
		whole[i] = byte(i + 1)
	}
	whole[254], whole[255] = 254, 4
	most := append(innerPacket(4, 15, 0), make([]byte, 257)...)
	for i := range 255 {
		most[15+i] = byte(i + 1)
	}
	most[270], most[271] = 255, 4
	for _, c := range []struct {
		name  string
		plain []byte
		n     int
		want  Verdict
	}{
		{"IPv4", framed(four, 4), 40, OK},
		{"IPv6", framed(six, 41), 60, OK},
		{"TFC padding", framed(append(bytes.Clone(four), make([]byte, 1000)...), 4), 1040, OK},
		{"most padding", most, 15, OK},
		{"IPv6 called IPv4", framed(six, 4), 60, BadNextHeader},
		{"IPv4 called IPv6", framed(four, 41), 40, BadNextHeader},
		{"neither version", framed(innerPacket(5, 40, 0), 4), 40, BadNextHeader},
		{"TCP, transport mode", framed(four, 6), 40, BadNextHeader},
		{"nothing inside", framed(nil, 4), 0, BadNextHeader},
		{"padding and nothing else", whole, 0, BadNextHeader},
		{"dummy, random inside", framed([]byte{1, 2, 3, 99, 7}, 59), 5, Dummy},
		{"dummy, empty", framed(nil, 59), 0, Dummy},
		{"first padding byte", damaged(40), 0, BadPadding},
		{"last padding byte", damaged(45), 0, BadPadding},
		{"pad length", damaged(46), 0, BadPadding},
		{"pad length one too large", long, 0, BadPadding},
		{"dummy, bad padding", append(make([]byte, 14), 3, 59), 0, BadPadding},
	} {
		t.Run(strings.ReplaceAll(c.name, " ", "-"), func(t *testing.T) {
			for _, s := range Suites() {
				out, in, scratch := testOutbound(t, s, false), testInbound(t, s, false, 64), NewScratch()
				b := sealRaw(t, out, scratch, c.plain)
				again := bytes.Clone(b)
				var batch Batch
				batch.Add(b)
				newest := in.OpenBatch(scratch, &batch)
				off, n, v := batch.Result(0)
				if v != c.want || v != BadPadding && n != c.n || off != out.HeaderLen() || !newest {
					t.Errorf("%v: %v, %d bytes at %d, newest %v; want %v, %d bytes", s, v, n, off, newest, c.want, c.n)
				}
				if v == OK && !bytes.Equal(b[off:off+n], c.plain[:n]) {
					t.Errorf("%v: opened %x, want %x", s, b[off:off+n], c.plain[:n])
				}
				// Its ICV was right, so that it counts as seen, whatever was inside.
				if _, v, _ := openOne(in, scratch, again); v != Replayed {
					t.Errorf("%v: again: %v", s, v)
				}
			}
		})
	}
}

func TestTooShort(t *testing.T) {
	for _, s := range Suites() {
		in, scratch := testInbound(t, s, false, 64), NewScratch()
		good := sealedRun(t, testOutbound(t, s, false), 1, 40)[0]
		for n := range good {
			v := func() Verdict { _, v, _ := openOne(in, scratch, bytes.Clone(good[:n])); return v }()
			if v != TooShort && v != BadICV {
				t.Errorf("%v: %d bytes of %d: %v", s, n, len(good), v)
			}
			if n < in.size.sealed(0) && v != TooShort {
				t.Errorf("%v: %d bytes: %v, want %v", s, n, v, TooShort)
			}
		}
	}
}

// TestBatchMixesVerdicts opens one batch with everything in it, so that no verdict reaches a neighbour.
func TestBatchMixesVerdicts(t *testing.T) {
	for _, s := range Suites() {
		out, in, scratch, batch := testOutbound(t, s, true), testInbound(t, s, true, 32), NewScratch(), new(Batch)
		old := sealedRun(t, out, 1, 40)[0]
		out.last.Store(99)
		p := sealedRun(t, out, 5, 40)
		bad := bytes.Clone(p[1])
		bad[len(bad)-1] ^= 1
		for round, want := range [][]Verdict{
			{OK, BadICV, OK, OK, TooShort, OK, Dummy, Replayed},
			{Replayed, Replayed, Replayed, Replayed, TooShort, BadICV, Dummy, Replayed},
		} {
			batch.Reset()
			for _, d := range [][]byte{p[0], bad, p[1], p[2], p[3][:20], old, sealRaw(t, out, scratch, framed(nil, 59)), p[0]} {
				batch.Add(bytes.Clone(d))
			}
			in.OpenBatch(scratch, batch)
			for i, want := range want {
				if _, _, got := batch.Result(i); got != want {
					t.Errorf("%v, round %d, datagram %d: %v, want %v", s, round, i, got, want)
				}
			}
		}
	}
}

func TestBatchIsBounded(t *testing.T) {
	batch := new(Batch)
	for i := range MaxBatch {
		if batch.Full() || batch.Len() != i || !batch.Add(nil) {
			t.Fatalf("no room for datagram %d", i)
		}
	}
	if !batch.Full() || batch.Add(nil) || batch.Len() != MaxBatch {
		t.Error("a full batch takes one more")
	}
	testInbound(t, AES128GCM16, false, 64).OpenBatch(NewScratch(), batch)
	if _, _, v := batch.Result(MaxBatch - 1); v != TooShort {
		t.Error(v)
	}
	if batch.Reset(); batch.Full() || batch.Len() != 0 {
		t.Error("not empty after Reset")
	}
}

func TestReplayWindowOff(t *testing.T) {
	out, in, scratch := testOutbound(t, AES128GCM16, false), testInbound(t, AES128GCM16, false, 0), NewScratch()
	p := sealedRun(t, out, 1, 40)[0]
	for range 3 {
		if _, v, _ := openOne(in, scratch, bytes.Clone(p)); v != OK {
			t.Error(v)
		}
	}
}

// TestReplayIsNotOpened: what the window refuses costs no decryption, the newest number of all included.
func TestReplayIsNotOpened(t *testing.T) {
	out, in, scratch := testOutbound(t, AES128GCM16, false), testInbound(t, AES128GCM16, false, 64), NewScratch()
	sealed := sealedRun(t, out, 3, 40)
	for _, p := range sealed {
		if _, v, _ := openOne(in, scratch, bytes.Clone(p)); v != OK {
			t.Fatal(v)
		}
	}
	for i, p := range sealed {
		again := bytes.Clone(p)
		if _, v, _ := openOne(in, scratch, again); v != Replayed || !bytes.Equal(again, p) {
			t.Errorf("number %d again: %v, changed: %v", i+1, v, !bytes.Equal(again, p))
		}
	}
}

func TestVerdictsHaveNames(t *testing.T) {
	names := map[string]bool{}
	for v := range NumVerdicts {
		if names[v.String()] || v.String() == "" {
			t.Errorf("verdict %d is %q", v, v)
		}
		names[v.String()] = true
	}
	if got := fmt.Sprint(NumVerdicts); names[got] {
		t.Errorf("what is no verdict is called %q", got)
	}
}

// TestInner: every padding length, every byte of it wrong once, every next header over every version, against what RFC 4303
// sections 2.4 to 2.6 say in their words.
func TestInner(t *testing.T) {
	model := func(plain []byte) (int, Verdict) {
		pad, next := int(plain[len(plain)-2]), plain[len(plain)-1]
		n := len(plain) - 2 - pad
		if n < 0 {
			return 0, BadPadding
		}
		for i := range pad {
			if plain[n+i] != byte(i+1) {
				return 0, BadPadding
			}
		}
		switch {
		case next == 59:
			return n, Dummy
		case n > 0 && next == 4 && plain[0]>>4 == 4, n > 0 && next == 41 && plain[0]>>4 == 6:
			return n, OK
		}
		return n, BadNextHeader
	}
	same := func(plain []byte) {
		t.Helper()
		n, v := inner(plain)
		if wantN, want := model(plain); v != want || n != wantN && v != BadPadding {
			t.Fatalf("%x: %d %v, want %d %v", plain, n, v, wantN, want)
		}
	}
	for _, size := range []int{0, 1, 2, 3, 20, 60} {
		for pad := range 256 {
			if size+pad+2 < 4 {
				continue
			}
			for _, first := range []byte{0x45, 0x60, 0x00, 0x01} {
				plain := make([]byte, size+pad+2)
				putTrailer(plain[size:], 4)
				if size > 0 {
					plain[0] = first
				}
				for next := range 256 {
					plain[len(plain)-1] = byte(next)
					same(plain)
				}
				plain[len(plain)-1] = 4
				for i := range plain {
					for _, bit := range []byte{1, 0x80} {
						plain[i] ^= bit
						same(plain)
						plain[i] ^= bit
					}
				}
			}
		}
	}
}

// TestUnevenCiphertext: what does not fill whole blocks (RFC 4303 section 2.4) is refused and harms nobody, also if the peer itself made
// it and its ICV is right.
func TestUnevenCiphertext(t *testing.T) {
	forEachSA(t, func(t *testing.T, s Suite, esn bool) {
		out, in, scratch := testOutbound(t, s, esn), testInbound(t, s, esn, 64), NewScratch()
		for over := 1; over < out.size.block; over++ {
			plain := append(framed(innerPacket(4, 40, 0), 4), bytes.Repeat([]byte{0, 4}, over)...)[:48+over]
			plain[len(plain)-1], plain[len(plain)-2] = 4, 0
			b := make([]byte, out.HeaderLen()+len(plain)+out.size.icv)
			run := out.Reserve(1)
			if out.cbc == nil {
				copy(b[16:], plain)
				run.seal(scratch, b, b[16:16+len(plain)])
			} else {
				seq := run.stamp(b)
				run.cbc.authenticate(scratch, out, b[:out.HeaderLen()+len(plain)], uint32(seq>>32))
			}
			run.End()
			if _, v, _ := openOne(in, scratch, b); v != TooShort {
				t.Errorf("%d bytes too many: %v, want %v", over, v, TooShort)
			}
		}
	})
}
