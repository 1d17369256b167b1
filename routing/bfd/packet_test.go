package bfd

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	other "github.com/osrg/gobgp/v4/pkg/packet/bfd"
)

func randomPacket(r *rand.Rand) Packet {
	interval := func() time.Duration { return time.Duration(r.Uint32()) * time.Microsecond }
	bit := func() bool { return r.IntN(2) == 0 }
	return Packet{Diag: Diag(r.IntN(9)), State: State(r.IntN(4)), Poll: bit(), Final: bit(), ControlPlaneIndependent: bit(), Demand: bit(),
		DetectMult: uint8(1 + r.IntN(255)), MyDiscriminator: 1 + r.Uint32N(1<<32-1), YourDiscriminator: 1 + r.Uint32N(1<<32-1),
		DesiredMinTx: interval(), RequiredMinRx: interval(), RequiredMinEchoRx: interval()}
}

func TestPacketsAreReadAsWritten(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		want := randomPacket(r)
		b := want.Append(nil)
		if got, drop := Parse(b); drop != Accepted || !reflect.DeepEqual(got, want) {
			t.Fatalf("read %+v, %v\nwant %+v", got, drop, want)
		}
	}
}

// The packet of RFC 5880 section 4.1, field by field.
func TestPacketOnTheWire(t *testing.T) {
	p := Packet{Diag: DiagNeighborDown, State: Init, Poll: true, Demand: true, DetectMult: 5, MyDiscriminator: 0x01020304,
		YourDiscriminator: 0x05060708, DesiredMinTx: time.Second, RequiredMinRx: 300 * time.Millisecond, RequiredMinEchoRx: time.Microsecond}
	want := []byte{0x23, 0xa2, 5, 24, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0x0f, 0x42, 0x40, 0, 4, 0x93, 0xe0, 0, 0, 0, 1}
	if got := p.Append(nil); !bytes.Equal(got, want) {
		t.Errorf("written %x, want %x", got, want)
	}
}

// GoBGP's codec as a second opinion.
func TestPacketsAsGoBGPReadsThem(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 1000 {
		p := randomPacket(r)
		p.ControlPlaneIndependent, p.Demand, p.RequiredMinEchoRx = false, false, 0
		var h other.BFDHeader
		if err := h.UnmarshalBinary(p.Append(nil)); err != nil {
			t.Fatalf("%+v: %v", p, err)
		}
		same := h.Version == 1 && uint8(h.Diagnostic) == uint8(p.Diag) && uint8(h.State) == uint8(p.State) && h.Poll == p.Poll && h.Final == p.Final &&
			h.DetectTimeMultiplier == p.DetectMult && h.MyDiscriminator == p.MyDiscriminator && h.YourDiscriminator == p.YourDiscriminator &&
			h.DesiredMinTxInterval == uint32(p.DesiredMinTx/time.Microsecond) && h.RequiredMinRxInterval == uint32(p.RequiredMinRx/time.Microsecond)
		if !same {
			t.Fatalf("written %+v\nread %+v", p, h)
		}
		b, err := h.MarshalBinary()
		if err != nil || !bytes.Equal(b, p.Append(nil)) {
			t.Fatalf("it writes %x, %v", b, err)
		}
	}
}

func TestNames(t *testing.T) {
	for name, got := range map[string]string{"Up": Up.String(), "state 9": State(9).String(), "Path Down": DiagPathDown.String(), "diagnostic 31": Diag(31).String(),
		"unknown-session": DropUnknown.String(), "drop 99": Drop(99).String()} {
		if got != name {
			t.Errorf("name %q, want %q", got, name)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add((&Packet{State: Down, DetectMult: 3, MyDiscriminator: 7}).Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, drop := Parse(b)
		if drop != Accepted || p.Authentication || b[3] != Size {
			return
		}
		if again := p.Append(nil); !bytes.Equal(again, b[:Size]) {
			t.Errorf("%x is written as %x", b[:Size], again)
		}
	})
}
