package ike

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/warrenvpn/warren/tunnel/ike/crypto"
	"github.com/warrenvpn/warren/tunnel/ike/message"
	"github.com/warrenvpn/warren/tunnel/ike/proposal"
)

// Negotiating a child SA, the same in IKE_AUTH and CREATE_CHILD_SA (RFC 7296 sections 1.2, 1.3.1, 1.3.3).

// An offer is what we offer as initiator of an exchange. Its SPI is held until the exchange is over.
type offer struct {
	cfg           *ChildConfig
	spi           uint32
	proposals     []message.Proposal
	local, remote []message.TrafficSelector
	// In CREATE_CHILD_SA only:
	nonce    []byte
	group    crypto.GroupID // GroupNone without PFS
	exchange crypto.Exchange
}

// An agreement is what both sides agreed on: what a child SA is made of.
type agreement struct {
	cfg           *ChildConfig
	choice        proposal.Choice
	in, out       uint32
	local, remote []message.TrafficSelector
	nonces        crypto.Nonces
	shared        [][]byte
	byUs          bool
}

// offerInAuth offers a child in IKE_AUTH: no nonce, no key exchange (RFC 7296 section 1.2).
func (sa *ikeSA) offerInAuth(cfg *ChildConfig) (*offer, error) {
	return sa.newOffer(cfg, cfg.Proposals.WithoutKE())
}

// offerAlone offers a child in CREATE_CHILD_SA, with a key of a group.
func (sa *ikeSA) offerAlone(cfg *ChildConfig, group crypto.GroupID) (*offer, error) {
	var exchange crypto.Exchange
	if group != crypto.GroupNone {
		method, err := group.Group()
		if err == nil {
			exchange, err = method.Begin()
		}
		if err != nil {
			return nil, fmt.Errorf("offering child %q: %w", cfg.Name, err)
		}
	}
	o, err := sa.newOffer(cfg, cfg.Proposals)
	if err != nil {
		return nil, err
	}
	o.nonce, o.group, o.exchange = sa.e.nonce(), group, exchange
	return o, nil
}

func (sa *ikeSA) newOffer(cfg *ChildConfig, list proposal.List) (*offer, error) {
	spi, err := sa.e.cfg.SPIs.Allocate(sa.name())
	if err != nil {
		return nil, fmt.Errorf("offering child %q: %w", cfg.Name, err)
	}
	o := &offer{cfg: cfg, spi: spi, proposals: list.Offer(binary.BigEndian.AppendUint32(nil, spi))}
	o.local, o.remote = sa.selectors(cfg)
	if len(o.local) == 0 || len(o.remote) == 0 {
		sa.e.cfg.SPIs.Release(spi)
		return nil, fmt.Errorf("offering child %q: no traffic selectors, and no address to take their place", cfg.Name)
	}
	return o, nil
}

// payloads are SA, Nonce, KE, TSi and TSr, those of CREATE_CHILD_SA only if it is one.
func (o *offer) payloads() []message.Payload {
	all := []message.Payload{&message.SA{Proposals: o.proposals}}
	if o.nonce != nil {
		all = append(all, &message.Nonce{Data: o.nonce})
	}
	if o.exchange != nil {
		all = append(all, &message.KE{Method: uint16(o.group), Data: o.exchange.Public()})
	}
	return append(all, &message.TSi{Selectors: o.local}, &message.TSr{Selectors: o.remote})
}

// errIncompleteAnswer says that payloads are missing.
var errIncompleteAnswer = errors.New("payloads are missing in the answer")

// accept checks the responder's answer. The error keeps nothing; the SPI is still the offer's.
func (o *offer) accept(sa *ikeSA, payloads []message.Payload) (*agreement, error) {
	answer, tsi, tsr := message.Find[*message.SA](payloads), message.Find[*message.TSi](payloads), message.Find[*message.TSr](payloads)
	if answer == nil || tsi == nil || tsr == nil {
		return nil, errIncompleteAnswer
	}
	choice, err := proposal.Accept(o.proposals, answer.Proposals)
	if err != nil {
		return nil, err
	}
	a := &agreement{cfg: o.cfg, choice: choice, in: o.spi, local: tsi.Selectors, remote: tsr.Selectors, byUs: true}
	if a.out, err = outSPI(choice); err != nil {
		return nil, err
	}
	if !within(o.local, a.local) || !within(o.remote, a.remote) {
		return nil, fmt.Errorf("traffic selectors: offered %s to %s, wanted ones within %s to %s",
			spellSelectors(a.local), spellSelectors(a.remote), spellSelectors(o.local), spellSelectors(o.remote))
	}
	if o.nonce == nil {
		a.nonces = sa.hs.nonces
		return a, nil
	}
	nonce := message.Find[*message.Nonce](payloads)
	if nonce == nil {
		return nil, errIncompleteAnswer
	}
	a.nonces = crypto.Nonces{Initiator: o.nonce, Responder: nonce.Data}
	a.shared, err = finishKE(choice, o.group, o.exchange, payloads)
	return a, err
}

// finishKE computes what a key exchange gave, if one was agreed on.
func finishKE(choice proposal.Choice, group crypto.GroupID, exchange crypto.Exchange, payloads []message.Payload) ([][]byte, error) {
	if choice.KE() == crypto.GroupNone {
		return nil, nil
	}
	ke := message.Find[*message.KE](payloads)
	if ke == nil || choice.KE() != group || crypto.GroupID(ke.Method) != group {
		return nil, errors.New("the key exchange is not the one that was offered")
	}
	shared, err := exchange.Finish(ke.Data)
	return [][]byte{shared}, err
}

func outSPI(choice proposal.Choice) (uint32, error) {
	if len(choice.SPI) != 4 {
		return 0, fmt.Errorf("an SPI of %d octets, wanted 4", len(choice.SPI))
	}
	if spi := binary.BigEndian.Uint32(choice.SPI); spi > 255 {
		return spi, nil
	}
	return 0, errors.New("an SPI below 256, which are reserved (RFC 4303 section 2.1)")
}

// A refusal is the notification that answers a request for a child, and why.
type refusal struct {
	notify *message.Notify
	err    error
}

func refuse(t message.NotifyType, err error) *refusal { return &refusal{&message.Notify{Type: t}, err} }

func (r *refusal) reply() reply { return reply{payloads: []message.Payload{r.notify}} }

// An answer is what a responder answers to an offer.
type answer struct {
	*agreement
	public []byte // of the key exchange; nil without
	tsi    []message.TrafficSelector
	tsr    []message.TrafficSelector
}

// respondChild agrees to an offer of the peer, within the configuration cfg, or with nil within the one that fits best. In
// IKE_AUTH nonces are those of IKE_SA_INIT; in CREATE_CHILD_SA there is the peer's only.
func (sa *ikeSA) respondChild(cfg *ChildConfig, payloads []message.Payload, inAuth bool, nonces crypto.Nonces) (*answer, *refusal) {
	offer, tsi, tsr := message.Find[*message.SA](payloads), message.Find[*message.TSi](payloads), message.Find[*message.TSr](payloads)
	if offer == nil || tsi == nil || tsr == nil {
		return nil, refuse(message.InvalidSyntax, errors.New("an SA, TSi or TSr payload is missing"))
	}
	a := &answer{agreement: &agreement{nonces: nonces}}
	var ref *refusal
	if cfg == nil {
		cfg, ref = sa.matchChild(tsi.Selectors, tsr.Selectors)
		if ref != nil {
			return nil, ref
		}
	}
	a.cfg = cfg
	a.local, a.remote = sa.narrowed(cfg, tsi.Selectors, tsr.Selectors)
	if len(a.local) == 0 {
		return nil, refuse(message.TSUnacceptable, sa.selectorsError(tsi.Selectors, tsr.Selectors, cfg))
	}
	a.tsi, a.tsr = a.remote, a.local
	selectProposal := proposal.Select
	if inAuth {
		selectProposal = proposal.SelectWithoutKE
	}
	var err error
	if a.choice, err = selectProposal(cfg.Proposals, offer.Proposals); err != nil {
		return nil, refuse(message.NoProposalChosen, fmt.Errorf("child %q: %w", cfg.Name, err))
	}
	if a.out, err = outSPI(a.choice); err != nil {
		return nil, refuse(message.NoProposalChosen, err)
	}
	if !inAuth {
		if ref := a.respondKE(payloads); ref != nil {
			return nil, ref
		}
		a.nonces.Responder = sa.e.nonce()
	}
	if a.in, err = sa.e.cfg.SPIs.Allocate(sa.name()); err != nil {
		return nil, refuse(message.NoAdditionalSAs, err)
	}
	return a, nil
}

// respondKE makes our half of the key exchange, if one was agreed on.
func (a *answer) respondKE(payloads []message.Payload) *refusal {
	public, shared, ref := respondKE(a.choice, payloads)
	if ref == nil && public != nil {
		a.public, a.shared = public, [][]byte{shared}
	}
	return ref
}

func respondKE(choice proposal.Choice, payloads []message.Payload) (public, shared []byte, ref *refusal) {
	if choice.KE() == crypto.GroupNone {
		return nil, nil, nil
	}
	ke := message.Find[*message.KE](payloads)
	sent := crypto.GroupNone
	if ke != nil {
		sent = crypto.GroupID(ke.Method)
	}
	if err := choice.CheckKE(sent); err != nil {
		return nil, nil, &refusal{message.NotifyUint16s(message.InvalidKEPayload, uint16(choice.KE())), err}
	}
	method, err := choice.KE().Group()
	if err == nil {
		public, shared, err = method.Respond(ke.Data)
	}
	if err != nil {
		return nil, nil, refuse(message.InvalidSyntax, err)
	}
	return public, shared, nil
}

// payloads are those of the answer, nonce and key exchange only in CREATE_CHILD_SA.
func (a *answer) payloads(inAuth bool) []message.Payload {
	all := []message.Payload{&message.SA{Proposals: a.choice.Answer(binary.BigEndian.AppendUint32(nil, a.in))}}
	if !inAuth {
		all = append(all, &message.Nonce{Data: a.nonces.Responder})
	}
	if a.public != nil {
		all = append(all, &message.KE{Method: uint16(a.choice.KE()), Data: a.public})
	}
	return append(all, &message.TSi{Selectors: a.tsi}, &message.TSr{Selectors: a.tsr})
}

// narrowed returns what of an offer the configuration allows; both are empty if one is.
func (sa *ikeSA) narrowed(cfg *ChildConfig, tsi, tsr []message.TrafficSelector) (local, remote []message.TrafficSelector) {
	ourLocal, ourRemote := sa.selectors(cfg)
	local, remote = bothFamilies(narrow(ourLocal, tsr), narrow(ourRemote, tsi))
	if len(local) == 0 || len(remote) == 0 {
		return nil, nil
	}
	return local, remote
}

// matchChild finds the configuration for an offer of selectors: one that need not be narrowed, else the first that overlaps.
func (sa *ikeSA) matchChild(tsi, tsr []message.TrafficSelector) (*ChildConfig, *refusal) {
	var first *ChildConfig
	for i := range sa.peer.cfg.Children {
		cfg := &sa.peer.cfg.Children[i]
		if local, _ := sa.narrowed(cfg, tsi, tsr); len(local) == 0 {
			continue
		}
		if ourLocal, ourRemote := sa.selectors(cfg); slices.Equal(ourLocal, tsr) && slices.Equal(ourRemote, tsi) {
			return cfg, nil
		}
		if first == nil {
			first = cfg
		}
	}
	if first == nil {
		return nil, refuse(message.TSUnacceptable, sa.selectorsError(tsi, tsr, nil))
	}
	return first, nil
}

func (sa *ikeSA) selectorsError(tsi, tsr []message.TrafficSelector, cfg *ChildConfig) error {
	wanted := ""
	for i := range sa.peer.cfg.Children {
		c := &sa.peer.cfg.Children[i]
		if cfg == nil || c == cfg {
			local, remote := sa.selectors(c)
			wanted += fmt.Sprintf(", child %q: %s from %s", c.Name, spellSelectors(local), spellSelectors(remote))
		}
	}
	if wanted == "" {
		wanted = ", none"
	}
	return fmt.Errorf("traffic selectors: offered %s from %s; wanted%s", spellSelectors(tsr), spellSelectors(tsi), wanted)
}
