package esp

import (
	"bytes"
	"testing"
)

// FuzzOpen offers any datagram to every suite. Without the key nothing is accepted.
func FuzzOpen(f *testing.F) {
	for _, s := range Suites() {
		f.Add(sealedRun(f, testOutbound(f, s, false), 1, 40)[0][:8])
		f.Add(make([]byte, suites[s].sealed(0)))
		f.Add(make([]byte, suites[s].sealed(40)))
	}
	scratch := NewScratch()
	f.Fuzz(func(t *testing.T, datagram []byte) {
		if len(datagram) < 4 {
			return
		}
		for _, s := range Suites() {
			for _, esn := range []bool{false, true} {
				in := testInbound(t, s, esn, 64)
				in.win.top = 1<<32 + 5
				_, v, newest := openOne(in, scratch, bytes.Clone(datagram))
				if v != TooShort && v != BadICV && v != TooOld && v != Replayed || newest || in.win.top != 1<<32+5 {
					t.Errorf("%v, esn %v: %v, top %#x", s, esn, v, in.win.top)
				}
			}
		}
	})
}

// FuzzInside offers any plaintext under a right ICV, as a peer with the key could, and holds what is made of its trailer
// against a slow reading of RFC 4303 sections 2.4 to 2.6.
func FuzzInside(f *testing.F) {
	f.Add(framed(innerPacket(4, 40, 0), 4))
	f.Add(framed(innerPacket(6, 60, 0), 41))
	f.Add(framed(nil, 59))
	f.Add(append(bytes.Repeat([]byte{0x45}, 14), 200, 4))
	f.Fuzz(func(t *testing.T, plain []byte) {
		if len(plain) == 0 {
			return
		}
		plain = append(make([]byte, -len(plain)&15), plain...) // whole blocks, the trailer kept
		// All suites share what looks inside. This one has no random IVs, so that the fuzzer sees the same path twice.
		out, in, scratch := testOutbound(t, AES128GCM16, false), testInbound(t, AES128GCM16, false, 64), NewScratch()
		want, inside := slowInside(plain)
		got, v, _ := openOne(in, scratch, sealRaw(t, out, scratch, plain))
		if v != want || v == OK && !bytes.Equal(got, inside) {
			t.Errorf("%x: %v %x, want %v %x", plain, v, got, want, inside)
		}
	})
}

// slowInside takes a plaintext apart from its end, byte by byte.
func slowInside(plain []byte) (Verdict, []byte) {
	next, pad, rest := plain[len(plain)-1], plain[len(plain)-2], plain[:len(plain)-2]
	for ; pad > 0; pad-- {
		if len(rest) == 0 || rest[len(rest)-1] != pad {
			return BadPadding, nil
		}
		rest = rest[:len(rest)-1]
	}
	if next == 59 {
		return Dummy, nil
	}
	for _, ip := range [][2]byte{{4, 4}, {41, 6}} {
		if len(rest) > 0 && next == ip[0] && rest[0]>>4 == ip[1] {
			return OK, rest
		}
	}
	return BadNextHeader, nil
}
