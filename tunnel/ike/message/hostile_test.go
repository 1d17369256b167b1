package message

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
)

// wire returns a message with payloads that need not be right: first is the type of the first, b the chain.
func wire(first PayloadType, b []byte) []byte {
	m := make([]byte, HeaderLen, HeaderLen+len(b))
	m[7], m[16], m[17], m[18] = 1, byte(first), 0x20, byte(IKESAInit)
	binary.BigEndian.PutUint32(m[24:], uint32(HeaderLen+len(b)))
	return append(m, b...)
}

// one returns a chain of one payload.
func one(body ...byte) []byte { return generic(NoNext, 0, body...) }

func generic(next PayloadType, flags byte, body ...byte) []byte {
	n := len(body) + genericLen
	return append([]byte{byte(next), flags, byte(n >> 8), byte(n)}, body...)
}

func zeros(n int) []byte { return make([]byte, n) }

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// TestRefused parses payloads that are wrong in one way each. The words must be in the error.
func TestRefused(t *testing.T) {
	transform := []byte{0, 0, 0, 8, 1, 0, 0, 20}
	proposal := func(protocol, spi, transforms byte, rest ...byte) []byte {
		n := 8 + len(rest)
		return append([]byte{0, 0, byte(n >> 8), byte(n), 1, protocol, spi, transforms}, rest...)
	}
	for _, c := range []struct {
		kind  PayloadType
		body  []byte
		words string
	}{
		{PayloadSA, nil, "SA, proposal at octet 32: offered 0 octets, wanted 8 octets or more"},
		{PayloadSA, proposal(1, 0, 0), "number of transforms"},
		{PayloadSA, proposal(1, 4, 1, join(zeros(4), transform)...), "IKE SPI size at octet 38: offered 4 octets, wanted 0 or 8 octets"},
		{PayloadSA, proposal(3, 0, 1, transform...), "ESP SPI size"},
		{PayloadSA, proposal(9, 200, 1, transform...), "SPI at"},
		{PayloadSA, proposal(1, 0, 2, transform...), "last at transform 1, wanted last at transform 2"},
		{PayloadSA, proposal(1, 0, 1, 3, 0, 0, 8, 1, 0, 0, 20), "last at transform"},
		{PayloadSA, proposal(1, 0, 1, 1, 0, 0, 8, 1, 0, 0, 20), "transform mark"},
		{PayloadSA, proposal(1, 0, 1, join(transform, transform)...), "last transform"},
		{PayloadSA, proposal(1, 0, 1, 0, 0, 0, 7, 1, 0, 0, 20), "transform length at octet 42: offered 7, wanted 8 to 8"},
		{PayloadSA, proposal(1, 0, 1, 0, 0, 0, 10, 1, 0, 0, 20, 0x80, 14), "attribute at"},
		{PayloadSA, proposal(1, 0, 1, 0, 0, 0, 12, 1, 0, 0, 20, 0, 14, 0, 9), "attribute value"},
		{PayloadSA, join(proposal(1, 0, 1, transform...), zeros(3)), "last proposal"},
		{PayloadSA, []byte{2, 0, 0, 9, 1, 1, 0, 1}, "proposal length"},
		{PayloadKE, []byte{0, 19, 0, 0}, "key exchange data"},
		{PayloadIDi, []byte{2, 0, 0}, "identity"},
		{PayloadIDi, []byte{1, 0, 0, 0, 10, 0, 0}, "ID_IPV4_ADDR at octet 36: offered 3 octets, wanted 4 octets"},
		{PayloadIDr, []byte{5, 0, 0, 0, 10, 0, 0, 1}, "wanted 16 octets"},
		{PayloadCert, nil, "certificate encoding"},
		{PayloadCert, append([]byte{12}, zeros(19)...), "hash and URL"},
		{PayloadCertReq, append([]byte{4}, zeros(21)...), "multiple of 20"},
		{PayloadAuth, []byte{2, 0, 0}, "authentication"},
		{PayloadAuth, []byte{14, 0, 0, 0}, "AlgorithmIdentifier length"},
		{PayloadAuth, []byte{14, 0, 0, 0, 3, 1, 2}, "AlgorithmIdentifier at"},
		{PayloadNonce, zeros(15), "wanted 16 to 256"},
		{PayloadNonce, zeros(257), "offered 257 octets"},
		{PayloadNotify, []byte{0, 0, 1}, "notification"},
		{PayloadNotify, []byte{3, 8, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8}, "ESP SPI size"},
		{PayloadNotify, []byte{3, 4, 0, 1, 1, 2, 3}, "SPI at"},
		{PayloadDelete, []byte{3, 4, 0}, "deletion"},
		{PayloadDelete, []byte{3, 4, 0, 2, 0, 0, 0, 1}, "offered 4 octets, wanted 8"},
		{PayloadDelete, []byte{1, 0, 0, 1}, "number of SPIs"},
		{PayloadDelete, []byte{1, 8, 0, 0}, "IKE SPI size"},
		{PayloadDelete, []byte{3, 0, 0xff, 0xff}, "ESP SPI size"},
		{PayloadDelete, []byte{7, 4, 0, 0}, "wanted IKE, AH or ESP"},
		{PayloadTSi, []byte{0, 0, 0, 0}, "number of selectors"},
		{PayloadTSi, []byte{2, 0, 0, 0, 7, 0, 0, 16, 0, 0, 255, 255, 1, 2, 3, 4, 1, 2, 3, 4}, "selector at"},
		{PayloadTSr, []byte{1, 0, 0, 0, 7, 0, 0, 16, 0, 0, 255, 255, 1, 2, 3, 4, 1, 2, 3, 3}, "1.2.3.4 to 1.2.3.3"},
		{PayloadTSr, []byte{1, 0, 0, 0, 8, 0, 0, 16, 0, 0, 255, 255, 1, 2, 3, 4, 1, 2, 3, 4}, "TS_IPV6_ADDR_RANGE length"},
		{PayloadTSr, []byte{1, 0, 0, 0, 7, 0, 0, 16, 0, 0, 255, 255, 1, 2, 3, 4}, "TS_IPV4_ADDR_RANGE"},
		{PayloadTSr, []byte{1, 0, 0, 0, 9, 0, 0, 3, 0}, "length"},
		{PayloadTSr, []byte{1, 0, 0, 0, 9, 0, 0, 4, 0}, "last selector"},
		{PayloadSKF, []byte{0, 0, 0, 1}, "fragment number"},
		{PayloadSKF, []byte{0, 3, 0, 2}, "fragment number"},
		{PayloadSKF, []byte{0, 3, 0}, "fragment header"},
		{PayloadCP, []byte{1, 0, 0}, "configuration"},
		{PayloadCP, []byte{1, 0, 0, 0, 0, 1, 0}, "attribute at"},
		{PayloadCP, []byte{1, 0, 0, 0, 0, 1, 0, 4, 10, 0, 0}, "INTERNAL_IP4_ADDRESS"},
		{PayloadCP, []byte{1, 0, 0, 0, 0, 1, 0, 3, 10, 0, 0}, "wanted 0 or 4 octets"},
	} {
		_, err := Parse(wire(c.kind, one(c.body...)))
		if err == nil || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%v %x: %v, want %q in it", c.kind, c.body, err, c.words)
		}
		var syntax *SyntaxError
		if n := Answer(err); !errors.As(err, &syntax) || n == nil || n.Type != InvalidSyntax || syntax.Payload != c.kind {
			t.Errorf("%v %x: %#v, answered by %v", c.kind, c.body, err, n)
		}
	}
}

// TestRefusedMessages does that for headers and chains.
func TestRefusedMessages(t *testing.T) {
	ok := wire(PayloadNonce, one(zeros(16)...))
	if _, err := Parse(ok); err != nil {
		t.Fatal(err)
	}
	change := func(at int, v byte) []byte {
		b := bytes.Clone(ok)
		b[at] = v
		return b
	}
	notify := []byte{0, 0, 0x40, 0}
	var many []byte
	for range MaxPayloads {
		many = append(many, generic(PayloadNotify, 0, notify...)...)
	}
	for _, c := range []struct {
		b      []byte
		words  string
		answer NotifyType
	}{
		{nil, "wanted 28 octets", InvalidSyntax},
		{ok[:27], "wanted 28 octets", InvalidSyntax},
		{ok[:len(ok)-1], "length at octet 24: offered 48, wanted 47", InvalidSyntax},
		{append(bytes.Clone(ok), 0), "offered 48, wanted 49", InvalidSyntax},
		{change(24, 0xff), "wanted 48", InvalidSyntax},
		{change(7, 0), "initiator's SPI", InvalidSyntax},
		{change(17, 0x10), "offered 1.0, wanted 2.0", 0},
		{change(17, 0x31), "offered 3.1, wanted 2.0", InvalidMajorVersion},
		{change(16, 0), "last payload", InvalidSyntax},
		{change(31, 21), "payload length at octet 30: offered 21, wanted 4 to 20", InvalidSyntax},
		{change(31, 3), "payload length", InvalidSyntax},
		{change(31, 18), "last payload at octet 46", InvalidSyntax},
		{change(28, byte(PayloadKE)), "KE, generic payload header", InvalidSyntax},
		{wire(PayloadNotify, many), "at most 64", InvalidSyntax},
		{wire(PayloadNonce, join(generic(PayloadNonce, 0, zeros(16)...), one(zeros(16)...))), "a second one", InvalidSyntax},
		{wire(PayloadSK, join(generic(PayloadIDi, 0, 1, 2, 3), one(7))), "last payload", InvalidSyntax},
		{wire(PayloadSKF, generic(PayloadIDi, 0, 0, 2, 0, 2, 9)), "next payload", InvalidSyntax},
		{wire(200, generic(NoNext, 0x80, 1)), "payload type 200 at octet 28", UnsupportedCritical},
		{wire(49, generic(NoNext, 0xff, 1)), "GSPM", UnsupportedCritical},
	} {
		m, err := Parse(c.b)
		if err == nil || m != nil || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%x: %v, want %q in it", c.b, err, c.words)
			continue
		}
		n := Answer(fmt.Errorf("wrapped: %w", err))
		if c.answer == 0 && n != nil || c.answer != 0 && (n == nil || n.Type != c.answer) {
			t.Errorf("%v is answered by %v, want %v", err, n, c.answer)
		}
	}
	if _, err := ParsePayloads(PayloadSK, one(1)); err == nil {
		t.Error("an SK payload inside another was parsed")
	}
	if n := Answer(&UnsupportedCriticalPayload{Payload: 200}); !bytes.Equal(n.Data, []byte{200}) {
		t.Errorf("data of UNSUPPORTED_CRITICAL_PAYLOAD: %x", n.Data)
	}
	if n := Answer(&VersionError{Major: 3}); !bytes.Equal(n.Data, []byte{0x20}) {
		t.Errorf("data of INVALID_MAJOR_VERSION: %x", n.Data)
	}
	if Answer(nil) != nil || Answer(errors.New("another")) != nil {
		t.Error("an error of no message is answered")
	}
}

// TestIgnored sets all that is reserved, and the critical bit of payloads that are understood: it must make no difference,
// but to what AUTH covers of an identity.
func TestIgnored(t *testing.T) {
	id := one(2, 0xaa, 0xbb, 0xcc, 'x')
	id[1] = 0xff
	b := wire(PayloadIDi, id)
	b[17], b[19] = 0x2f, 0xff
	m, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	if m.Flags != allFlags {
		t.Errorf("flags %x", m.Flags)
	}
	got := Find[*IDi](m.Payloads)
	if !bytes.Equal(got.Signed(), []byte{2, 0xaa, 0xbb, 0xcc, 'x'}) || got.String() != "x" {
		t.Errorf("AUTH covers %x of %v", got.Signed(), got)
	}
	sent, err := m.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := one(2, 0, 0, 0, 'x'); sent[17] != 0x20 || sent[19] != 0x38 || !bytes.Equal(sent[HeaderLen:], want) {
		t.Errorf("sent %x", sent)
	}
	payloads, err := ParsePayloads(PayloadNotify, one(3, 0, 0x40, 0))
	if err != nil || payloads[0].(*Notify).Protocol != ProtocolNone {
		t.Errorf("a protocol without SPI: %+v, %v", payloads, err)
	}
	// A type that is not understood and not critical is handed on.
	payloads, err = ParsePayloads(200, generic(PayloadVendorID, 0x7f, 5))
	if err == nil {
		t.Errorf("a chain without its end: %+v", payloads)
	}
	payloads, err = ParsePayloads(200, join(generic(PayloadVendorID, 0x7f, 5), one(6)))
	if err != nil || len(payloads) != 2 || payloads[0].Kind() != 200 {
		t.Errorf("%+v, %v", payloads, err)
	}
}

// TestNotSent asks for messages that are too long or wrong.
func TestNotSent(t *testing.T) {
	ok := Transform{Type: TransformEncr, ID: EncrAESGCM16, KeyLength: 256}
	long := zeros(math.MaxUint16)
	for _, p := range []Payload{
		&SA{}, &SA{make([]Proposal, MaxProposals+1)}, &SA{[]Proposal{{Protocol: ProtocolIKE}}},
		&SA{[]Proposal{{Protocol: ProtocolIKE, Transforms: make([]Transform, 256)}}},
		&SA{[]Proposal{{Protocol: ProtocolESP, Transforms: []Transform{ok}}}},
		&SA{[]Proposal{{Protocol: 9, SPI: zeros(256), Transforms: []Transform{ok}}}},
		&SA{[]Proposal{{Protocol: ProtocolIKE, Transforms: []Transform{{Attributes: []Attribute{{Value: long}}}}}}},
		&SA{[]Proposal{{Protocol: ProtocolIKE, Transforms: []Transform{{Attributes: []Attribute{{Short: true, Value: []byte{1}}}}}}}},
		&KE{Method: 1}, &KE{Method: 1, Data: long}, &IDi{ID{Type: IDIPv4Addr}}, &Cert{Encoding: CertHashAndURL},
		&CertReq{Encoding: CertX509Signature, Authority: []byte{1}}, &Auth{Method: AuthSharedKey, Algorithm: []byte{1}},
		&Auth{Method: AuthDigitalSignature, Algorithm: zeros(256)}, &Nonce{zeros(15)}, &Nonce{zeros(257)},
		&Notify{Protocol: ProtocolESP, SPI: zeros(8)}, &Notify{SPI: zeros(256)}, &Delete{Protocol: ProtocolIKE, SPIs: []uint32{1}},
		&Delete{}, &VendorID{long}, &TSi{}, &TSr{make([]TrafficSelector, 256)}, &TSr{make([]TrafficSelector, 1)},
		&TSr{[]TrafficSelector{{Unknown: &UnknownSelector{Type: TSIPv4AddrRange}}}},
		&CP{Attributes: []ConfigAttribute{{Type: InternalIP4Address, Value: []byte{1}}}},
		&CP{Attributes: []ConfigAttribute{{Type: 1 << 15}}}, &CP{Attributes: make([]ConfigAttribute, MaxAttributes+1)},
		&EAP{long}, &Unknown{Type: PayloadSA}, &Unknown{Type: PayloadSKF}, &Unknown{},
	} {
		if b, err := AppendPayloads(nil, []Payload{p}); err == nil {
			t.Errorf("%v was appended: %.80x", p.Kind(), b)
		}
	}
	h := Header{SPIi: 1}
	for _, m := range []Message{
		{Payloads: []Payload{&Nonce{zeros(16)}}},
		{Header: h, Payloads: []Payload{&SK{}, &Nonce{zeros(16)}}},
		{Header: h, Payloads: make([]Payload, MaxPayloads+1)},
	} {
		for i := range m.Payloads {
			if m.Payloads[i] == nil {
				m.Payloads[i] = &VendorID{}
			}
		}
		if _, err := m.Append(nil); err == nil {
			t.Errorf("%+v was appended", m)
		}
	}
	if _, err := AppendPayloads(nil, []Payload{&SK{}}); err == nil {
		t.Error("an SK payload was appended inside another")
	}
	if _, _, _, err := Split(zeros(23), 8, 16); err == nil || Answer(err) == nil {
		t.Errorf("a body too short for its algorithms: %v", err)
	}
}

// TestKept parses what is odd but must reach whoever decides: two key lengths, one in the long format, one of zero. Of a
// configuration attribute the reserved bit is ignored. What is parsed can be appended to without harm to its neighbours.
func TestKept(t *testing.T) {
	body := []byte{0, 0, 0, 34, 1, 1, 0, 1, 0, 0, 0, 26, 1, 0, 0, 20, 0x80, 14, 1, 0, 0x80, 14, 0, 128, 0, 14, 0, 2, 1, 0, 0x80, 14, 0, 0}
	payloads, err := ParsePayloads(PayloadSA, one(body...))
	if err != nil {
		t.Fatal(err)
	}
	tr := payloads[0].(*SA).Proposals[0].Transforms[0]
	if tr.KeyLength != 256 || len(tr.Attributes) != 3 || tr.String() != "ENCR_AES_GCM_16_256 with 3 unknown attributes" {
		t.Errorf("%v: %+v", tr, tr)
	}
	if again, err := AppendPayloads(nil, payloads); err != nil || !bytes.Equal(again, one(body...)) {
		t.Errorf("appended %x, %v", again, err)
	}
	payloads, err = ParsePayloads(PayloadCP, one(1, 0, 0, 0, 0x80, 1, 0, 4, 10, 0, 0, 1))
	if err != nil || len(payloads[0].(*CP).Attrs(InternalIP4Address)) != 1 {
		t.Errorf("%+v, %v", payloads, err)
	}
	payloads, err = ParsePayloads(PayloadNotify, join(generic(PayloadNonce, 0, 3, 4, 0x40, 9, 1, 2, 3, 4, 5), one(zeros(16)...)))
	if err != nil {
		t.Fatal(err)
	}
	n := payloads[0].(*Notify)
	_, _ = append(n.SPI, 0xff), append(n.Data, 0xff)
	if n.Data[0] != 5 || payloads[1].(*Nonce).Data[0] != 0 || cap(n.SPI) != 4 || cap(n.Data) != 1 {
		t.Errorf("%+v, %+v", payloads[0], payloads[1])
	}
}
