package proposal

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/warrenvpn/warren/tunnel/ike/message"
)

var (
	// ErrNoProposal says that two sides have no proposal in common: NO_PROPOSAL_CHOSEN.
	ErrNoProposal = errors.New("no proposal in common")
	// ErrAnswer says that a responder chose what was not offered.
	ErrAnswer = errors.New("the responder's choice was not offered")
)

// Select chooses for a responder: the first configured proposal that goes with an offered one, and in it the first
// transforms. The error is an ErrNoProposal, which says what was offered and what was wanted.
func Select(configured List, offered []message.Proposal) (Choice, error) {
	nearest := noPair
	for _, c := range configured {
		for _, o := range offered {
			chosen, differ := match(c, o)
			if differ == nil {
				return Choice{Protocol: c.Protocol, Number: o.Number, SPI: o.SPI, Transforms: chosen}, nil
			}
			if len(differ) < len(nearest) {
				nearest = differ
			}
		}
	}
	return Choice{}, noProposal(configured, offered, nearest)
}

// SelectWithoutKE chooses as Select does, for the child of IKE_AUTH, where no keys are exchanged whatever the two sides say
// (RFC 7296 section 1.2).
func SelectWithoutKE(configured List, offered []message.Proposal) (Choice, error) {
	offered = slices.Clone(offered)
	for i := range offered {
		offered[i].Transforms = withoutKE(offered[i].Transforms)
	}
	return Select(configured.WithoutKE(), offered)
}

// noPair is longer than any list of types that differ.
var noPair = make([]message.TransformType, 256)

// match chooses the transforms of one pair, or says in which types the two differ. Types that are not known differ always
// (RFC 7296 section 3.3.6).
func match(c Proposal, o message.Proposal) (chosen []message.Transform, differ []message.TransformType) {
	if c.Protocol != o.Protocol {
		return nil, noPair
	}
	common := func(t message.Transform) bool { return slices.ContainsFunc(o.Transforms, t.Equal) }
	var ke [][]message.Transform
	for _, typ := range types(c.Transforms, o.Transforms) {
		some := candidates(c.Transforms, []message.TransformType{typ}, common)[0]
		ours, theirs := of(c.Transforms, typ), of(o.Transforms, typ)
		switch {
		case len(ours) == 0 && slices.ContainsFunc(theirs, isNone):
			some = []message.Transform{{Type: typ}}
		case len(theirs) == 0 && slices.ContainsFunc(ours, isNone):
			continue
		case len(some) == 0:
			differ = append(differ, typ)
			continue
		}
		if isKE(typ) {
			ke = append(ke, some)
		} else {
			chosen = append(chosen, some[0])
		}
	}
	if len(differ) > 0 {
		return nil, differ
	}
	exchanges, ok := chooseKE(ke)
	if !ok {
		return nil, []message.TransformType{message.TransformADDKE1}
	}
	chosen = append(chosen, exchanges...)
	slices.SortFunc(chosen, func(a, b message.Transform) int { return cmp.Compare(a.Type, b.Type) })
	return chosen, nil
}

// types lists the types that occur in either, in ascending order.
func types(a, b []message.Transform) []message.TransformType {
	var all []message.TransformType
	for _, t := range slices.Concat(a, b) {
		all = append(all, t.Type)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// keTypes lists the types of key exchanges that occur, in ascending order.
func keTypes(all []message.Transform) []message.TransformType {
	return slices.DeleteFunc(types(all, nil), func(t message.TransformType) bool { return !isKE(t) })
}

// candidates returns, for each type, those of its transforms that will do.
func candidates(all []message.Transform, types []message.TransformType, will func(message.Transform) bool) [][]message.Transform {
	out := make([][]message.Transform, len(types))
	for i, typ := range types {
		out[i] = slices.DeleteFunc(of(all, typ), func(t message.Transform) bool { return !will(t) })
	}
	return out
}

// chooseKE takes one of each, the first that will do, so that no method but "none" is taken twice (RFC 9370 section 2.2.1).
func chooseKE(from [][]message.Transform) ([]message.Transform, bool) {
	return chooseDistinct(nil, from)
}

func chooseDistinct(taken []message.Transform, from [][]message.Transform) ([]message.Transform, bool) {
	if len(from) == 0 {
		return taken, true
	}
	for _, t := range from[0] {
		if !isNone(t) && slices.ContainsFunc(taken, func(o message.Transform) bool { return o.ID == t.ID }) {
			continue
		}
		if all, ok := chooseDistinct(append(taken[:len(taken):len(taken)], t), from[1:]); ok {
			return all, true
		}
	}
	return nil, false
}

// Accept checks a responder's answer against the proposals that were offered: it must be one of them with one transform of
// each type. The error is an ErrAnswer.
func Accept(offered, answer []message.Proposal) (Choice, error) {
	if len(answer) != 1 {
		return Choice{}, fmt.Errorf("%w: %d proposals in place of one", ErrAnswer, len(answer))
	}
	a := answer[0]
	i := slices.IndexFunc(offered, func(o message.Proposal) bool { return o.Number == a.Number && o.Protocol == a.Protocol })
	if i < 0 {
		return Choice{}, fmt.Errorf("%w: %v proposal number %d of %d", ErrAnswer, a.Protocol, a.Number, len(offered))
	}
	o := offered[i]
	refuse := func(typ message.TransformType) (Choice, error) {
		return Choice{}, fmt.Errorf("%w: the %s in %s; offered was %s", ErrAnswer, kind(typ), spellOffer(a), spellOffer(o))
	}
	for _, typ := range types(o.Transforms, a.Transforms) {
		ours, theirs := of(o.Transforms, typ), of(a.Transforms, typ)
		switch {
		case len(theirs) == 0 && slices.ContainsFunc(ours, isNone):
		case len(theirs) != 1 || !slices.ContainsFunc(ours, theirs[0].Equal):
			return refuse(typ)
		}
	}
	if _, ok := chooseKE(candidates(a.Transforms, keTypes(a.Transforms), func(message.Transform) bool { return true })); !ok {
		return refuse(message.TransformADDKE1)
	}
	return Choice{Protocol: a.Protocol, Number: a.Number, SPI: a.SPI, Transforms: slices.Clone(a.Transforms)}, nil
}

// Bounds on how much of an offer is repeated in an error, which an attacker can provoke.
const (
	maxSpelled    = 8
	maxSpelledLen = 300
)

func spellOffer(o message.Proposal) string {
	s := spellAll(o.Protocol, o.Transforms)
	if len(s) > maxSpelledLen {
		s = s[:maxSpelledLen] + "..."
	}
	return s
}

func noProposal(configured List, offered []message.Proposal, nearest []message.TransformType) error {
	var their []string
	for i, o := range offered {
		if i == maxSpelled {
			their = append(their, fmt.Sprintf("%d more", len(offered)-i))
			break
		}
		s := spellOffer(o)
		if len(configured) > 0 && o.Protocol != configured[0].Protocol {
			s = o.Protocol.String() + ":" + s
		}
		their = append(their, s)
	}
	reason := ""
	if len(nearest) < len(noPair) {
		var in []string
		for _, typ := range nearest {
			in = append(in, kind(typ))
		}
		reason = "; the nearest two differ in " + strings.Join(in, ", ")
	}
	return fmt.Errorf("%w: offered was %s, wanted is %v%s", ErrNoProposal, strings.Join(their, ","), configured, reason)
}
