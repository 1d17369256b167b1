package message

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	mrand "math/rand/v2"
	"net/netip"
	"testing"
)

// A generator makes payloads at random, each of which can be sent. Slices without elements are nil, as parsing has them.
type generator struct{ *mrand.Rand }

// seeded returns a generator whose seed the test prints if it fails.
func seeded(t testing.TB) generator {
	var b [8]byte
	rand.Read(b[:])
	seed := binary.BigEndian.Uint64(b[:])
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	})
	return generator{mrand.New(mrand.NewPCG(seed, 0))}
}

func (g generator) bytes(least, most int) []byte {
	n := least + g.IntN(most-least+1)
	if n == 0 {
		return nil
	}
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(g.Uint32())
	}
	return b
}

func (g generator) u8() uint8   { return uint8(g.Uint32()) }
func (g generator) u16() uint16 { return uint16(g.Uint32()) }

func pick[T any](g generator, from ...T) T { return from[g.IntN(len(from))] }

func several[T any](g generator, least, most int, one func() T) []T {
	var all []T
	for range least + g.IntN(most-least+1) {
		all = append(all, one())
	}
	return all
}

func (g generator) header() Header {
	return Header{
		SPIi: g.Uint64() | 1, SPIr: g.Uint64(), Exchange: ExchangeType(g.u8()),
		Flags: Flags(g.u8()) & allFlags, MessageID: g.Uint32(),
	}
}

func (g generator) transform() Transform {
	t := Transform{Type: TransformType(g.u8()), ID: g.u16()}
	if g.IntN(2) == 0 {
		t.KeyLength = g.u16() | 1
	}
	if g.IntN(4) == 0 {
		t.Attributes = several(g, 1, 3, func() Attribute {
			if g.IntN(2) == 0 {
				return Attribute{Type: 15 + g.u16()%1000, Short: true, Value: g.bytes(2, 2)}
			}
			return Attribute{Type: g.u16() % (1 << 15), Value: g.bytes(0, 20)}
		})
	}
	return t
}

func (g generator) proposal() Proposal {
	p := Proposal{Number: g.u8(), Protocol: pick(g, ProtocolIKE, ProtocolAH, ProtocolESP, ProtocolID(77))}
	switch p.Protocol {
	case ProtocolIKE:
		p.SPI = pick(g, nil, g.bytes(8, 8))
	case ProtocolAH, ProtocolESP:
		p.SPI = g.bytes(4, 4)
	default:
		p.SPI = g.bytes(0, 255)
	}
	p.Transforms = several(g, 1, 12, g.transform)
	return p
}

func (g generator) id() ID {
	id := ID{Type: IDType(1 + g.IntN(14))}
	switch id.Type {
	case IDIPv4Addr:
		id.Data = g.bytes(4, 4)
	case IDIPv6Addr:
		id.Data = g.bytes(16, 16)
	default:
		id.Data = g.bytes(0, 100)
	}
	return id
}

func (g generator) addr(v4 bool) netip.Addr {
	if v4 {
		return netip.AddrFrom4([4]byte(g.bytes(4, 4)))
	}
	return netip.AddrFrom16([16]byte(g.bytes(16, 16)))
}

func (g generator) selector() TrafficSelector {
	if g.IntN(8) == 0 {
		return TrafficSelector{Unknown: &UnknownSelector{Type: 9 + TSType(g.IntN(200)), Protocol: g.u8(), Body: g.bytes(0, 40)}}
	}
	v4 := g.IntN(2) == 0
	s := TrafficSelector{Protocol: g.u8(), StartPort: g.u16(), EndPort: g.u16(), Start: g.addr(v4), End: g.addr(v4)}
	if s.End.Less(s.Start) {
		s.Start, s.End = s.End, s.Start
	}
	return s
}

func (g generator) configAttribute() ConfigAttribute {
	t := ConfigAttributeType(g.IntN(30))
	n := map[ConfigAttributeType]int{
		InternalIP4Address: 4, InternalIP4Netmask: 4, InternalIP4DNS: 4, InternalIP4NBNS: 4, InternalIP4DHCP: 4,
		InternalIP6Address: 17, InternalIP6DNS: 16, InternalIP6DHCP: 16, InternalIP4Subnet: 8, InternalIP6Subnet: 17,
		SupportedAttributes: 6,
	}[t]
	switch {
	case n == 0:
		return ConfigAttribute{Type: t, Value: g.bytes(0, 50)}
	case g.IntN(3) == 0:
		return ConfigAttribute{Type: t}
	}
	return ConfigAttribute{Type: t, Value: g.bytes(n, n)}
}

func (g generator) notify() *Notify {
	n := &Notify{Type: NotifyType(g.u16()), Data: g.bytes(0, 60)}
	switch g.IntN(3) {
	case 0:
		n.Protocol, n.SPI = pick(g, ProtocolAH, ProtocolESP), g.bytes(4, 4)
	case 1:
		n.Protocol, n.SPI = ProtocolIKE, g.bytes(8, 8)
	}
	return n
}

func (g generator) cert() *Cert {
	return &Cert{Encoding: CertEncoding(g.u8()), Data: g.bytes(20, 1500)}
}

func (g generator) certReq() *CertReq {
	return &CertReq{Encoding: CertEncoding(g.u8() % 20), Authority: g.bytes(20*5, 20*5)}
}

func (g generator) auth() *Auth {
	a := &Auth{Method: AuthMethod(g.u8() % 20), Data: g.bytes(0, 256)}
	if a.Method == AuthDigitalSignature {
		a.Algorithm = g.bytes(0, 255)
	}
	return a
}

func (g generator) delete() *Delete {
	if g.IntN(2) == 0 {
		return &Delete{Protocol: ProtocolIKE}
	}
	return &Delete{Protocol: pick(g, ProtocolAH, ProtocolESP), SPIs: several(g, 0, 10, g.Uint32)}
}

// payload returns one of a kind that may stand inside an SK payload.
func (g generator) payload(kind PayloadType) Payload {
	switch kind {
	case PayloadSA:
		return &SA{Proposals: several(g, 1, 5, g.proposal)}
	case PayloadKE:
		return &KE{Method: g.u16(), Data: g.bytes(1, 1200)}
	case PayloadIDi:
		return &IDi{g.id()}
	case PayloadIDr:
		return &IDr{g.id()}
	case PayloadCert:
		return g.cert()
	case PayloadCertReq:
		return g.certReq()
	case PayloadAuth:
		return g.auth()
	case PayloadNonce:
		return &Nonce{Data: g.bytes(NonceMin, NonceMax)}
	case PayloadNotify:
		return g.notify()
	case PayloadDelete:
		return g.delete()
	case PayloadVendorID:
		return &VendorID{Data: g.bytes(0, 40)}
	case PayloadTSi:
		return &TSi{Selectors: several(g, 1, 10, g.selector)}
	case PayloadTSr:
		return &TSr{Selectors: several(g, 1, 10, g.selector)}
	case PayloadCP:
		return &CP{Type: ConfigType(g.u8()), Attributes: several(g, 0, 12, g.configAttribute)}
	case PayloadEAP:
		return &EAP{Message: g.bytes(0, 100)}
	case unknownKind:
		return &Unknown{Type: unknownKind, Body: g.bytes(0, 100)}
	}
	panic(fmt.Sprint("no payload of ", kind))
}

const unknownKind PayloadType = 200

// innerKinds are the types of payloads that may stand inside an SK payload, and one that is not understood.
func innerKinds() []PayloadType {
	var kinds []PayloadType
	for k := PayloadSA; k <= PayloadEAP; k++ {
		if !protected(k) {
			kinds = append(kinds, k)
		}
	}
	return append(kinds, unknownKind)
}

// payloads returns up to n payloads, of each single type at most one.
func (g generator) payloads(n int) []Payload {
	var all []Payload
	seen := map[PayloadType]bool{}
	for range n {
		if k := pick(g, innerKinds()...); !single(k) || !seen[k] {
			all, seen[k] = append(all, g.payload(k)), true
		}
	}
	return all
}
