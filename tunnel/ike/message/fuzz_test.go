package message

import (
	"bytes"
	"fmt"
	"testing"
)

// touch calls what reads of a parsed payload: nothing may panic or do much work.
func touch(payloads []Payload) {
	_ = summary(payloads)
	for _, p := range payloads {
		switch p := p.(type) {
		case *SA:
			for _, proposal := range p.Proposals {
				proposal.SPI32()
				proposal.SPI64()
				if t := proposal.Transforms[0]; !t.Equal(t) {
					panic("a transform differs from itself")
				}
			}
		case *IDi:
			_ = p.Signed()
		case *Cert:
			p.HashAndURL()
		case *CertReq:
			p.Hashes()
		case *Notify:
			p.Uint16s()
			p.SPI32()
		case *TSi:
			_ = PrefixesOf(p.Selectors)
		case *CP:
			for _, a := range p.Attributes {
				a.Addr()
				a.Prefix()
				a.Netmask()
			}
		}
	}
	FindError(payloads)
	FindNotifies(payloads, Cookie)
}

// check holds what was parsed to what can be said of it without knowing the octets: it can be sent again, in no more octets,
// and means the same then.
func check(t *testing.T, payloads []Payload, b []byte) {
	touch(payloads)
	again, err := appendChain(nil, payloads, NoNext)
	if err != nil {
		t.Fatalf("parsed but not sent: %v\n%s", err, summary(payloads))
	}
	if len(again) > len(b) {
		t.Fatalf("%d octets grew to %d", len(b), len(again))
	}
	spans, err := walk(FirstKind(payloads), again, 0)
	if err != nil {
		t.Fatal(err)
	}
	got, err := parseSpans(spans, again)
	if err != nil {
		t.Fatalf("sent but not parsed: %v", err)
	}
	third, err := appendChain(nil, got, NoNext)
	if err != nil || !bytes.Equal(third, again) || summary(got) != summary(withoutOffsets(got, payloads)) {
		t.Fatalf("%x became %x: %v", again, third, err)
	}
}

// withoutOffsets gives the wanted encrypted payloads the offsets of the others, which have no header before them.
func withoutOffsets(got, want []Payload) []Payload {
	for i := range want {
		switch p := want[i].(type) {
		case *SK:
			p.Offset = got[i].(*SK).Offset
		case *SKF:
			p.Offset = got[i].(*SKF).Offset
		}
	}
	return want
}

func answered(t *testing.T, err error) {
	if _, ok := err.(*VersionError); !ok && Answer(err) == nil {
		t.Fatalf("%T has no answer", err)
	}
	_ = err.Error()
}

func FuzzParse(f *testing.F) {
	for _, m := range recording(f) {
		if m.header != nil {
			f.Add(m.octets)
		}
	}
	g := seeded(f)
	for range 50 {
		m := &Message{Header: g.header(), Payloads: append(g.payloads(6), &SKF{First: PayloadIDi, Number: 1, Total: 2, Body: g.bytes(0, 50)})}
		b, err := m.Append(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		given := bytes.Clone(b)
		m, err := Parse(b)
		if !bytes.Equal(b, given) {
			t.Fatal("the datagram was changed")
		}
		if err != nil {
			answered(t, err)
			return
		}
		if h, err := ParseHeader(b); err != nil || h != m.Header || h.String() == "" {
			t.Fatalf("header %+v, %v, want %+v", h, err, m.Header)
		}
		check(t, m.Payloads, b[HeaderLen:])
	})
}

// FuzzChain takes the inside of an encrypted payload.
func FuzzChain(f *testing.F) {
	for _, m := range recording(f) {
		if m.header == nil {
			f.Add(byte(m.first), m.octets)
		}
	}
	f.Fuzz(func(t *testing.T, first byte, b []byte) {
		payloads, err := ParsePayloads(PayloadType(first), b)
		if err != nil {
			answered(t, err)
			return
		}
		check(t, payloads, b)
	})
}

// fuzzBody takes the body of one payload.
func fuzzBody(f *testing.F, kind PayloadType) {
	g := seeded(f)
	for range 20 {
		b, err := g.payload(kind).appendBody(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if len(body) > 60000 {
			return
		}
		b := one(body...)
		payloads, err := ParsePayloads(kind, b)
		if err != nil {
			answered(t, err)
			return
		}
		if len(payloads) != 1 || payloads[0].Kind() != kind {
			t.Fatalf("%v parsed as %+v", kind, payloads)
		}
		own := fmt.Sprintf("%+v", payloads[0])
		for i := range b {
			b[i] ^= 0xff
		}
		if own != fmt.Sprintf("%+v", payloads[0]) {
			t.Fatal("the payload aliases what it was parsed from")
		}
		check(t, payloads, b)
	})
}

func FuzzSA(f *testing.F)       { fuzzBody(f, PayloadSA) }
func FuzzKE(f *testing.F)       { fuzzBody(f, PayloadKE) }
func FuzzIDi(f *testing.F)      { fuzzBody(f, PayloadIDi) }
func FuzzIDr(f *testing.F)      { fuzzBody(f, PayloadIDr) }
func FuzzCert(f *testing.F)     { fuzzBody(f, PayloadCert) }
func FuzzCertReq(f *testing.F)  { fuzzBody(f, PayloadCertReq) }
func FuzzAuth(f *testing.F)     { fuzzBody(f, PayloadAuth) }
func FuzzNonce(f *testing.F)    { fuzzBody(f, PayloadNonce) }
func FuzzNotify(f *testing.F)   { fuzzBody(f, PayloadNotify) }
func FuzzDelete(f *testing.F)   { fuzzBody(f, PayloadDelete) }
func FuzzVendorID(f *testing.F) { fuzzBody(f, PayloadVendorID) }
func FuzzTSi(f *testing.F)      { fuzzBody(f, PayloadTSi) }
func FuzzTSr(f *testing.F)      { fuzzBody(f, PayloadTSr) }
func FuzzCP(f *testing.F)       { fuzzBody(f, PayloadCP) }
func FuzzEAP(f *testing.F)      { fuzzBody(f, PayloadEAP) }
func FuzzUnknown(f *testing.F)  { fuzzBody(f, unknownKind) }
