package bfd

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"
)

func TestDrops(t *testing.T) {
	valid := Packet{State: Down, DetectMult: 3, MyDiscriminator: 7, DesiredMinTx: time.Second, RequiredMinRx: time.Second}
	edit := func(f func(b []byte)) []byte {
		b := valid.Append(nil)
		f(b)
		return b
	}
	for _, c := range []struct {
		name string
		b    []byte
		ttl  uint8
		want Drop
	}{
		{"valid", valid.Append(nil), 255, Accepted},
		{"padded", append(valid.Append(nil), 1, 2, 3), 255, Accepted},
		{"ttl", valid.Append(nil), 254, DropTTL},
		{"empty", nil, 255, DropShort},
		{"short", valid.Append(nil)[:23], 255, DropShort},
		{"version 0", edit(func(b []byte) { b[0] &= 0x1f }), 255, DropVersion},
		{"version 2", edit(func(b []byte) { b[0] = 2 << 5 }), 255, DropVersion},
		{"length small", edit(func(b []byte) { b[3] = 23 }), 255, DropLength},
		{"length large", edit(func(b []byte) { b[3] = 25 }), 255, DropLength},
		{"length small for authentication", edit(func(b []byte) { b[1] |= bitAuth; b[3] = 25 }), 255, DropLength},
		{"mult", edit(func(b []byte) { b[2] = 0 }), 255, DropDetectMult},
		{"multipoint", edit(func(b []byte) { b[1] |= bitMultipoint }), 255, DropMultipoint},
		{"my discriminator", edit(func(b []byte) { b[7] = 0 }), 255, DropMyDiscriminator},
		{"your discriminator absent", edit(func(b []byte) { b[1] = byte(Up) << 6 }), 255, DropYourDiscriminator},
		{"your discriminator of another", edit(func(b []byte) { b[11] = 9 }), 255, DropYourDiscriminator},
		{"authentication", append(edit(func(b []byte) { b[1] |= bitAuth; b[3] = 28 }), 1, 4, 1, 'x'), 255, DropAuthentication},
	} {
		m := NewMachine(fast(100, 3), 100, rand.New(rand.NewPCG(1, 1)), epoch)
		if got := m.Receive(c.b, c.ttl, epoch); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
		if want := map[bool]State{true: Init, false: Down}[c.want == Accepted]; m.state != want {
			t.Errorf("%s: the session is %v, want %v", c.name, m.state, want)
		}
	}
}

func TestCheck(t *testing.T) {
	for _, c := range []Config{fast(0, 3), fast(100, 0), fast(3600_001, 3), {DesiredMinTx: time.Second, DetectMult: 3}} {
		if err := c.Check(); !errors.Is(err, ErrConfig) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// Whatever a neighbour says, the machine waits for a time that comes, and sends no storm.
func FuzzMachine(f *testing.F) {
	f.Add([]byte{0x20, 0x40, 3, 24, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0x20, 0x80, 3, 24, 0, 0, 0, 7, 0, 0, 0, 100, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, script []byte) {
		m := NewMachine(fast(100, 3), 100, rand.New(rand.NewPCG(1, 1)), epoch)
		now := epoch
		for received := 0; len(script) >= Size; received++ {
			b := script[:Size]
			script = script[Size:]
			before, _ := Parse(b)
			m.Receive(b, 255, now)
			if sent, _ := m.Take(); len(sent) > 4 {
				t.Fatalf("%d packets in answer to %+v", len(sent), before)
			}
			for range 5 {
				d := m.Deadline()
				if d.IsZero() {
					break
				}
				if d.After(now) {
					now = d
				}
				m.Tick(now)
				if d := m.Deadline(); !d.IsZero() && !d.After(now) {
					t.Fatalf("the deadline %v does not move after %v", d, now)
				}
			}
			m.Take()
		}
	})
}
