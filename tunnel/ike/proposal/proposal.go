package proposal

import (
	"cmp"
	"slices"
	"strings"

	"github.com/warrenvpn/warren/tunnel/ike/message"
)

// A Proposal is one configured proposal: a peer may take any combination of its transforms, one of each type. Those of a type
// stand in order of preference.
type Proposal struct {
	Protocol   message.ProtocolID // IKE or ESP
	Transforms []message.Transform
}

// A List is what is configured for one protocol, in order of preference.
type List []Proposal

// of returns the transforms of a type.
func of(all []message.Transform, typ message.TransformType) []message.Transform {
	var some []message.Transform
	for _, t := range all {
		if t.Type == typ {
			some = append(some, t)
		}
	}
	return some
}

func isKE(typ message.TransformType) bool { return typ == message.TransformKE || typ.AdditionalKE() }

// isNone says whether the transform says that its type is not used.
func isNone(t message.Transform) bool {
	return t.ID == 0 && t.KeyLength == 0 && len(t.Attributes) == 0 && (t.Type == message.TransformInteg || isKE(t.Type))
}

func isAEAD(id uint16) bool {
	return id == message.EncrAESGCM16 || id == message.EncrChaCha20Poly1305
}

// String spells the proposal as Parse reads it.
func (p Proposal) String() string { return spellAll(p.Protocol, p.Transforms) }

// String spells the proposals as Parse reads them.
func (l List) String() string {
	all := make([]string, len(l))
	for i, p := range l {
		all[i] = p.String()
	}
	return strings.Join(all, ",")
}

// rank orders types as proposals are written: encryption, integrity, PRF, key exchanges, esn.
func rank(t message.Transform) int {
	switch t.Type {
	case message.TransformEncr:
		return 1
	case message.TransformInteg:
		return 2
	case message.TransformPRF:
		return 3
	case message.TransformSN:
		return 100
	}
	return int(t.Type)
}

// spellAll leaves out what Parse adds by itself.
func spellAll(protocol message.ProtocolID, all []message.Transform) string {
	sorted := slices.Clone(all)
	slices.SortStableFunc(sorted, func(a, b message.Transform) int { return cmp.Compare(rank(a), rank(b)) })
	impliedPRF := protocol == message.ProtocolIKE && same(of(all, message.TransformPRF), following(of(all, message.TransformInteg)))
	impliedSN := protocol == message.ProtocolESP && same(of(all, message.TransformSN), eitherSN)
	var spelled []string
	for _, t := range sorted {
		if t.Type == message.TransformPRF && impliedPRF || t.Type == message.TransformSN && impliedSN {
			continue
		}
		spelled = append(spelled, spell(t))
	}
	return strings.Join(spelled, "-")
}

func same(a, b []message.Transform) bool { return slices.EqualFunc(a, b, message.Transform.Equal) }

// WithoutKE returns the proposals without key exchanges, as they are offered for the child of IKE_AUTH (RFC 7296 section
// 1.2). Proposals that then are equal become one.
func (l List) WithoutKE() List {
	var out List
	for _, p := range l {
		p.Transforms = withoutKE(p.Transforms)
		if !slices.ContainsFunc(out, func(o Proposal) bool { return o.Protocol == p.Protocol && same(o.Transforms, p.Transforms) }) {
			out = append(out, p)
		}
	}
	return out
}

func withoutKE(all []message.Transform) []message.Transform {
	return slices.DeleteFunc(slices.Clone(all), func(t message.Transform) bool { return isKE(t.Type) })
}

// Offer returns the proposals of an SA payload, numbered from 1 (RFC 7296 section 3.3.1). spi is the same in all: none for
// the first IKE SA, 8 octets where one is rekeyed, 4 for ESP.
func (l List) Offer(spi []byte) []message.Proposal {
	out := make([]message.Proposal, len(l))
	for i, p := range l {
		out[i] = message.Proposal{Number: uint8(i + 1), Protocol: p.Protocol, SPI: spi, Transforms: slices.Clone(p.Transforms)}
	}
	return out
}
