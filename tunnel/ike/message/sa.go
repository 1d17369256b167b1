package message

import (
	"encoding/binary"
	"fmt"
	"math"
)

const (
	proposalLen  = 8 // of a proposal without SPI and transforms
	transformLen = 8 // of a transform without attributes
	shortFormat  = 1 << 15
)

// The first octet of a proposal or transform says whether another one follows (RFC 7296 sections 3.3.1 and 3.3.2).
const (
	lastSubstructure = 0
	moreProposals    = 2
	moreTransforms   = 3
)

// SPI32 returns the SPI of an AH or ESP SA.
func (p Proposal) SPI32() (spi uint32, ok bool) { return spi32(p.SPI) }

// SPI64 returns the SPI of an IKE SA that is rekeyed.
func (p Proposal) SPI64() (spi uint64, ok bool) {
	if len(p.SPI) != 8 {
		return 0, false
	}
	return binary.BigEndian.Uint64(p.SPI), true
}

func spi32(b []byte) (uint32, bool) {
	if len(b) != 4 {
		return 0, false
	}
	return binary.BigEndian.Uint32(b), true
}

// proposalSPI says which lengths of an SPI are wrong for a protocol in a proposal: "" if n is right.
func proposalSPI(p ProtocolID, n int) (wanted string) {
	switch {
	case p == ProtocolIKE && n != 0 && n != 8:
		return "0 or 8 octets"
	case (p == ProtocolAH || p == ProtocolESP) && n != 4:
		return "4 octets"
	}
	return ""
}

func parseSA(r *reader) (*SA, error) {
	sa := &SA{}
	for more := true; more; {
		if len(sa.Proposals) == MaxProposals {
			return nil, r.bad("number of proposals", 0, "more", fmt.Sprintf("at most %d", MaxProposals))
		}
		sub, last, err := substructure(r, proposalLen, moreProposals, "proposal")
		if err != nil {
			return nil, err
		}
		p, err := parseProposal(sub)
		if err != nil {
			return nil, err
		}
		sa.Proposals = append(sa.Proposals, p)
		more = !last
	}
	return sa, r.end("last proposal")
}

// substructure takes a proposal or transform of at least least octets and returns what follows its length.
func substructure(r *reader, least int, more uint8, what string) (sub *reader, last bool, err error) {
	if err := r.need(least, what); err != nil {
		return nil, false, err
	}
	left := len(r.b)
	mark := r.u8()
	if mark != lastSubstructure && mark != more {
		return nil, false, r.bad(what+" mark", 1, mark, fmt.Sprintf("%d or %d", lastSubstructure, more))
	}
	r.take(1)
	n := int(r.u16())
	if n < least || n > left {
		return nil, false, r.bad(what+" length", 2, n, fmt.Sprintf("%d to %d", least, left))
	}
	return r.sub(n - 4), mark == lastSubstructure, nil
}

func parseProposal(r *reader) (Proposal, error) {
	p := Proposal{Number: r.u8(), Protocol: ProtocolID(r.u8())}
	spi, count := int(r.u8()), int(r.u8())
	if wanted := proposalSPI(p.Protocol, spi); wanted != "" {
		return p, r.bad(p.Protocol.String()+" SPI size", 2, octets(spi), wanted)
	}
	if err := r.need(spi, "SPI"); err != nil {
		return p, err
	}
	p.SPI = r.bytes(spi)
	if count == 0 {
		return p, r.bad("number of transforms", 0, 0, "1 or more")
	}
	for i := range count {
		sub, last, err := substructure(r, transformLen, moreTransforms, "transform")
		if err != nil {
			return p, err
		}
		if last != (i == count-1) {
			return p, r.bad("transform mark", 0, fmt.Sprintf("last at transform %d", i+1), fmt.Sprintf("last at transform %d", count))
		}
		t, err := parseTransform(sub)
		if err != nil {
			return p, err
		}
		p.Transforms = append(p.Transforms, t)
	}
	return p, r.end("last transform")
}

func parseTransform(r *reader) (Transform, error) {
	t := Transform{Type: TransformType(r.u8())}
	r.take(1)
	t.ID = r.u16()
	for len(r.b) != 0 {
		if len(t.Attributes) == MaxAttributes {
			return t, r.bad("number of attributes", 0, "more", fmt.Sprintf("at most %d", MaxAttributes))
		}
		if err := r.need(4, "attribute"); err != nil {
			return t, err
		}
		word := r.u16()
		a := Attribute{Type: word &^ shortFormat, Short: word&shortFormat != 0}
		if a.Short {
			a.Value = r.take(2)
		} else {
			n := int(r.u16())
			if err := r.need(n, "attribute value"); err != nil {
				return t, err
			}
			a.Value = r.bytes(n)
		}
		if bits, ok := a.keyLength(); ok && t.KeyLength == 0 {
			t.KeyLength = bits
		} else {
			t.Attributes = append(t.Attributes, a)
		}
	}
	return t, nil
}

// keyLength says whether the attribute is a key length as it should be.
func (a Attribute) keyLength() (bits uint16, ok bool) {
	if a.Type != AttributeKeyLength || !a.Short || len(a.Value) != 2 {
		return 0, false
	}
	bits = binary.BigEndian.Uint16(a.Value)
	return bits, bits != 0
}

func (s *SA) appendBody(b []byte) ([]byte, error) {
	if n := len(s.Proposals); n == 0 || n > MaxProposals {
		return nil, fmt.Errorf("%d proposals, 1 to %d can be sent", n, MaxProposals)
	}
	var err error
	for i, p := range s.Proposals {
		mark := byte(moreProposals)
		if i == len(s.Proposals)-1 {
			mark = lastSubstructure
		}
		if b, err = p.append(b, mark); err != nil {
			return nil, fmt.Errorf("proposal %d: %w", i+1, err)
		}
	}
	return b, nil
}

func (p Proposal) append(b []byte, mark byte) ([]byte, error) {
	if wanted := proposalSPI(p.Protocol, len(p.SPI)); wanted != "" {
		return nil, fmt.Errorf("%v SPI of %s, wanted %s", p.Protocol, octets(len(p.SPI)), wanted)
	}
	if len(p.SPI) > math.MaxUint8 {
		return nil, fmt.Errorf("SPI of %d octets, at most %d", len(p.SPI), math.MaxUint8)
	}
	if n := len(p.Transforms); n == 0 || n > MaxTransforms {
		return nil, fmt.Errorf("%d transforms, 1 to %d can be sent", n, MaxTransforms)
	}
	start := len(b)
	b = append(b, mark, 0, 0, 0, p.Number, byte(p.Protocol), byte(len(p.SPI)), byte(len(p.Transforms)))
	b = append(b, p.SPI...)
	var err error
	for i, t := range p.Transforms {
		mark := byte(moreTransforms)
		if i == len(p.Transforms)-1 {
			mark = lastSubstructure
		}
		if b, err = t.append(b, mark); err != nil {
			return nil, fmt.Errorf("transform %v: %w", t, err)
		}
	}
	return b, putLength(b, start, start+2)
}

func (t Transform) append(b []byte, mark byte) ([]byte, error) {
	start := len(b)
	b = append(b, mark, 0, 0, 0, byte(t.Type), 0)
	b = binary.BigEndian.AppendUint16(b, t.ID)
	if t.KeyLength != 0 {
		b = binary.BigEndian.AppendUint16(b, shortFormat|AttributeKeyLength)
		b = binary.BigEndian.AppendUint16(b, t.KeyLength)
	}
	for _, a := range t.Attributes {
		if a.Type >= shortFormat || len(a.Value) > math.MaxUint16 || a.Short && len(a.Value) != 2 {
			return nil, fmt.Errorf("attribute %d with %s does not fit its format", a.Type, octets(len(a.Value)))
		}
		if a.Short {
			b = binary.BigEndian.AppendUint16(b, shortFormat|a.Type)
		} else {
			b = binary.BigEndian.AppendUint16(b, a.Type)
			b = binary.BigEndian.AppendUint16(b, uint16(len(a.Value)))
		}
		b = append(b, a.Value...)
	}
	return b, putLength(b, start, start+2)
}
