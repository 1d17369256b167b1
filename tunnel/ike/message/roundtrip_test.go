package message

import (
	"bytes"
	"encoding/binary"
	"reflect"
	"testing"
)

// TestRoundTripPayload appends payloads of each type at random and parses them.
func TestRoundTripPayload(t *testing.T) {
	g := seeded(t)
	for _, kind := range innerKinds() {
		for range 300 {
			want := []Payload{g.payload(kind)}
			b, err := AppendPayloads([]byte("before"), want)
			if err != nil {
				t.Fatalf("append %+v: %v", want[0], err)
			}
			got, err := ParsePayloads(kind, b[len("before"):])
			if err != nil {
				t.Fatalf("parse %+v: %v", want[0], err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("%v: got\n%+v\nwant\n%+v", kind, got[0], want[0])
			}
		}
	}
}

// TestRoundTripMessage does that with whole messages: in the clear, and what stands inside and outside of SK and SKF. What
// was parsed must not change with the datagram, but for the encrypted bodies.
func TestRoundTripMessage(t *testing.T) {
	g := seeded(t)
	for range 500 {
		m := &Message{Header: g.header(), Payloads: g.payloads(12)}
		body := g.bytes(1, 300)
		switch g.IntN(3) {
		case 0:
			m.Payloads = append(m.Payloads, &SK{First: PayloadType(g.u8()), Body: body})
		case 1:
			f := &SKF{Number: 1 + g.u16()%100, Total: 100, Body: body}
			if f.Number == 1 {
				f.First = PayloadIDi
			}
			m.Payloads = append(m.Payloads, f)
		}
		b, err := m.Append(nil)
		if err != nil {
			t.Fatalf("append %+v: %v", m, err)
		}
		got, err := Parse(b)
		if err != nil {
			t.Fatalf("parse %x: %v", b, err)
		}
		again, err := got.Append(nil)
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("appended again:\n%x\nwant\n%x\n%v", again, b, err)
		}
		sk, skf := Find[*SK](got.Payloads), Find[*SKF](got.Payloads)
		if sk != nil {
			sk.Body, sk.Offset = bytes.Clone(sk.Body), checkOffset(t, b, sk.Body, sk.Offset)
		}
		if skf != nil {
			skf.Body, skf.Offset = bytes.Clone(skf.Body), checkOffset(t, b, skf.Body, skf.Offset)
		}
		clear(b)
		if !reflect.DeepEqual(got, m) {
			t.Fatalf("got\n%+v\nwant\n%+v", got, m)
		}
	}
}

// checkOffset returns zero, if the body is the end of the datagram and begins at the offset.
func checkOffset(t *testing.T, b, body []byte, offset int) int {
	t.Helper()
	if len(body) == 0 || &b[offset] != &body[0] || offset+len(body) != len(b) {
		t.Fatalf("offset %d, body of %d of %d octets", offset, len(body), len(b))
	}
	return 0
}

// TestAppendSK builds messages as the crypto layer does, and takes them apart as it does.
func TestAppendSK(t *testing.T) {
	g := seeded(t)
	for range 200 {
		h, inside := g.header(), g.payloads(8)
		plain, err := AppendPayloads(nil, inside)
		if err != nil {
			t.Fatal(err)
		}
		iv, ciphertext, icv := g.bytes(8, 8), append(bytes.Clone(plain), 0), g.bytes(16, 16)
		n := len(iv) + len(ciphertext) + len(icv)
		b, err := AppendSK([]byte("xyz"), h, nil, FirstKind(inside), n)
		if err != nil {
			t.Fatal(err)
		}
		aad := bytes.Clone(b[3:])
		if len(aad) != HeaderLen+genericLen {
			t.Fatalf("associated data of %d octets", len(aad))
		}
		b = append(append(append(b, iv...), ciphertext...), icv...)[3:]
		m, err := Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		sk := Find[*SK](m.Payloads)
		if m.Header != h || len(m.Payloads) != 1 || sk.First != FirstKind(inside) || !bytes.Equal(b[:sk.Offset], aad) {
			t.Fatalf("got %+v", m)
		}
		gotIV, gotCiphertext, gotICV, err := Split(sk.Body, 8, 16)
		if err != nil || !bytes.Equal(gotIV, iv) || !bytes.Equal(gotCiphertext, ciphertext) || !bytes.Equal(gotICV, icv) {
			t.Fatalf("split into %x %x %x: %v", gotIV, gotCiphertext, gotICV, err)
		}
		got, err := ParsePayloads(sk.First, gotCiphertext[:len(gotCiphertext)-1])
		if err != nil || !reflect.DeepEqual(got, inside) {
			t.Fatalf("inside: %+v, want %+v: %v", got, inside, err)
		}
	}
}

// TestAppendSKF holds fragments to the format of RFC 7383 section 2.5.
func TestAppendSKF(t *testing.T) {
	h := Header{SPIi: 1, SPIr: 2, Exchange: IKEAuth, Flags: FlagInitiator, MessageID: 1}
	clear := []Payload{&Notify{Type: Cookie, Data: []byte{7}}}
	for number := uint16(1); number <= 3; number++ {
		b, err := AppendSKF(nil, h, clear, PayloadIDi, number, 3, 20)
		if err != nil {
			t.Fatal(err)
		}
		b = append(b, make([]byte, 20)...)
		if n := binary.BigEndian.Uint32(b[24:]); int(n) != len(b) {
			t.Fatalf("length %d of %d", n, len(b))
		}
		m, err := Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		f := Find[*SKF](m.Payloads)
		want := NoNext
		if number == 1 {
			want = PayloadIDi
		}
		if f.First != want || f.Number != number || f.Total != 3 || len(f.Body) != 20 || f.Offset != len(b)-20 {
			t.Errorf("fragment %d: %+v", number, f)
		}
		if len(clear) != 1 || cap(clear) != 1 {
			t.Error("the payloads in the clear were changed")
		}
	}
	if _, err := AppendSKF(nil, h, nil, PayloadIDi, 4, 3, 20); err == nil {
		t.Error("fragment 4 of 3 was appended")
	}
	if _, err := AppendSK(nil, h, nil, PayloadIDi, 1<<16-4); err == nil {
		t.Error("an SK payload of 65536 octets was appended")
	}
}
