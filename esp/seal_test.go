package esp

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"testing"
)

// forEachSA runs a test for all suites, with and without ESN.
func forEachSA(t *testing.T, test func(t *testing.T, s Suite, esn bool)) {
	for _, s := range Suites() {
		for _, esn := range []bool{false, true} {
			t.Run(fmt.Sprintf("%v/esn=%v", s, esn), func(t *testing.T) { test(t, s, esn) })
		}
	}
}

// innerPacket returns n bytes that pass for an IP packet of that version. n is at least 1.
func innerPacket(version byte, n int, fill byte) []byte {
	p := bytes.Repeat([]byte{fill}, n)
	p[0] = version<<4 | 5
	return p
}

// TestRoundTrip seals both ways, of both IP versions in one SA, and opens.
func TestRoundTrip(t *testing.T) {
	forEachSA(t, func(t *testing.T, s Suite, esn bool) {
		out, in, scratch := testOutbound(t, s, esn), testInbound(t, s, esn, 64), NewScratch()
		for n := 1; n < 200; n++ {
			version, next := byte(4), byte(4)
			if n%2 == 0 {
				version, next = 6, 41
			}
			plain := innerPacket(version, n, byte(n))
			run := out.Reserve(2)
			inPlace := make([]byte, out.SealedLen(n))
			copy(inPlace[out.HeaderLen():], plain)
			if got := run.Seal(scratch, inPlace, n, next); got != len(inPlace) {
				t.Fatalf("%d bytes: sealed %d, want %d", n, got, len(inPlace))
			}
			apart := make([]byte, out.SealedLen(n))
			src := append(bytes.Clone(plain), bytes.Repeat([]byte{0xee}, out.TrailerLen(n))...)
			before := bytes.Clone(src)
			run.SealTo(scratch, apart, src, n, next)
			run.End()
			if !bytes.Equal(src, before) {
				t.Fatalf("%d bytes: the source was changed:\n%x\n%x", n, src, before)
			}
			for i, b := range [][]byte{inPlace, apart} {
				if got := binary.BigEndian.Uint32(b); got != testSPI {
					t.Fatalf("SPI %#x", got)
				}
				if got := binary.BigEndian.Uint32(b[4:]); got != uint32(2*n-1+i) {
					t.Fatalf("number %d, want %d", got, 2*n-1+i)
				}
				got, v, newest := openOne(in, scratch, b)
				if v != OK || !newest || !bytes.Equal(got, plain) {
					t.Fatalf("%d bytes, packet %d: %v, newest %v\n%x\n%x", n, i, v, newest, got, plain)
				}
			}
		}
	})
}

// TestSealLeavesTheRestAlone seals in the middle of a larger buffer.
func TestSealLeavesTheRestAlone(t *testing.T) {
	forEachSA(t, func(t *testing.T, s Suite, esn bool) {
		out, scratch := testOutbound(t, s, esn), NewScratch()
		for n := range 40 {
			b := bytes.Repeat([]byte{0xaa}, 300)
			run := out.Reserve(1)
			sealed := run.Seal(scratch, b[100:], n, 4)
			run.End()
			for i, c := range b {
				if (i < 100 || i >= 100+sealed) && c != 0xaa {
					t.Fatalf("%d bytes: byte %d was changed", n, i-100)
				}
			}
		}
	})
}

// TestSuperPacketSegments seals neighbouring segments of one buffer, whose bytes serve as each other's room for trailers.
func TestSuperPacketSegments(t *testing.T) {
	forEachSA(t, func(t *testing.T, s Suite, esn bool) {
		const segments, size = 7, 53
		out, in, scratch := testOutbound(t, s, esn), testInbound(t, s, esn, 64), NewScratch()
		var super []byte
		for i := range segments {
			super = append(super, innerPacket(4, size, byte(i))...)
		}
		super = append(super, make([]byte, out.TrailerLen(size))...)
		run := out.Reserve(segments)
		frames := make([]byte, segments*out.SealedLen(size))
		for i := range segments {
			run.SealTo(scratch, frames[i*out.SealedLen(size):][:out.SealedLen(size)], super[i*size:], size, 4)
		}
		run.End()
		for i := range segments {
			got, v, _ := openOne(in, scratch, frames[i*out.SealedLen(size):][:out.SealedLen(size)])
			if v != OK || !bytes.Equal(got, innerPacket(4, size, byte(i))) {
				t.Fatalf("segment %d: %v %x", i, v, got)
			}
		}
	})
}

func TestAEADIVIsBasePlusNumber(t *testing.T) {
	const base = 1763699372000000000
	for _, s := range []Suite{AES128GCM16, AES192GCM16, AES256GCM16, ChaCha20Poly1305} {
		out, err := NewOutbound(Config{SPI: testSPI, Suite: s, Key: testKey(s), IVBase: base})
		if err != nil {
			t.Fatal(err)
		}
		in, scratch := testInbound(t, s, false, 64), NewScratch()
		for i := uint64(1); i <= 5; i++ {
			if got := out.IV(); got != base+i {
				t.Errorf("%v: next IV %d, want %d", s, got, base+i)
			}
			p := sealedRun(t, out, 1, 20)[0]
			if got := binary.BigEndian.Uint64(p[8:]); got != base+i {
				t.Errorf("%v: IV %d, want %d", s, got, base+i)
			}
			if _, v, _ := openOne(in, scratch, p); v != OK {
				t.Errorf("%v: %v", s, v)
			}
		}
	}
}

// TestCBCIVsAreNewEachTime compares many IVs with each other and with the ciphertext that went before, which BEAST exploited.
func TestCBCIVsAreNewEachTime(t *testing.T) {
	a, b := testOutbound(t, AES128SHA256, false), testOutbound(t, AES128SHA256, false)
	seen := map[string]bool{}
	for range 40 {
		for _, sa := range []*Outbound{a, b} {
			for _, p := range sealedRun(t, sa, 50, 20) {
				iv, last := string(p[8:24]), string(p[len(p)-32:len(p)-16])
				if seen[iv] {
					t.Fatalf("IV %x came twice, or was ciphertext", iv)
				}
				seen[iv], seen[last] = true, true
			}
		}
	}
}

func TestNumbersDoNotCycle(t *testing.T) {
	for _, c := range []struct {
		name string
		cfg  Config
		last uint64
	}{
		{"32 bits", Config{Suite: AES128GCM16}, math.MaxUint32},
		{"32 bits, CBC", Config{Suite: AES128SHA1}, math.MaxUint32},
		{"64 bits", Config{Suite: AES128GCM16, ESN: true}, math.MaxUint64 - 1<<40},
		{"64 bits, CBC", Config{Suite: AES128SHA1, ESN: true}, math.MaxUint64 - 1<<40},
		{"IVs before numbers", Config{Suite: ChaCha20Poly1305, IVBase: math.MaxUint64 - 500}, 500},
		{"no IV at all", Config{Suite: ChaCha20Poly1305, IVBase: math.MaxUint64}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.cfg.SPI, c.cfg.Key = testSPI, testKey(c.cfg.Suite)
			out, err := NewOutbound(c.cfg)
			if err != nil {
				t.Fatal(err)
			}
			if c.last > 0 {
				if out.Exhausted() {
					t.Error("exhausted from the start")
				}
				out.last.Store(c.last - 3)
				run := out.Reserve(2)
				if run.Left() != 2 || run.First() != c.last-2 {
					t.Errorf("%d left from %d", run.Left(), run.First())
				}
				run.End()
				run = out.Reserve(10)
				if run.Left() != 1 || run.First() != c.last {
					t.Errorf("%d left from %d, want 1 from %d", run.Left(), run.First(), c.last)
				}
				run.End()
			}
			for range 3 {
				run := out.Reserve(1)
				if run.Left() != 0 {
					t.Error("a number after the last one")
				}
				run.End()
			}
			if !out.Exhausted() || out.Sent() != c.last {
				t.Errorf("exhausted %v, sent %d", out.Exhausted(), out.Sent())
			}
		})
	}
}

func TestSetLimit(t *testing.T) {
	out := testOutbound(t, AES128GCM16, false)
	out.SetLimit(10)
	run := out.Reserve(8)
	if run.Left() != 8 {
		t.Errorf("%d left, want 8", run.Left())
	}
	if run = out.Reserve(8); run.Left() != 2 {
		t.Errorf("%d left, want 2", run.Left())
	}
	if run = out.Reserve(8); run.Left() != 0 || out.Exhausted() {
		t.Errorf("%d left, exhausted %v", run.Left(), out.Exhausted())
	}
	out.SetLimit(20)
	// What the last Reserve but one overshot stays unused, so that no number is given out twice.
	if run = out.Reserve(8); run.Left() != 4 || run.First() != 17 {
		t.Errorf("%d left from %d, want 4 from 17", run.Left(), run.First())
	}
	out.SetLimit(math.MaxUint64)
	out.last.Store(math.MaxUint32)
	if run = out.Reserve(1); run.Left() != 0 {
		t.Error("the limit was lifted above what 32 bits hold")
	}
}
