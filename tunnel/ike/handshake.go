package ike

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/warrenvpn/warren/tunnel/ike/crypto"
	"github.com/warrenvpn/warren/tunnel/ike/message"
)

// An initKey finds the IKE SA that a repeated IKE_SA_INIT request belongs to: same octets, same address (RFC 7296 section
// 2.1).
type initKey struct {
	from netip.AddrPort
	hash [sha256.Size]byte
}

// A handshake is what is known of an IKE SA only until it is established.
type handshake struct {
	key    initKey // responder
	nonces crypto.Nonces
	// ours and theirs are the messages of IKE_SA_INIT, which AUTH signs.
	ours, theirs []byte
	// Of the initiator's IKE_SA_INIT:
	group    crypto.GroupID
	exchange crypto.Exchange
	cookie   []byte
	offered  []message.Proposal
	restarts int
	// refused is what unauthenticated answers said. It ends nothing, but explains a timeout.
	refused error
	// methods are the additional key exchanges that are still to be made (RFC 9370).
	methods []crypto.GroupID
	intAuth crypto.IntAuth
	// child is what the initiator offers in IKE_AUTH, wanted what it will ask for afterwards.
	child  *offer
	wanted []string
	// requests are the CERTREQs of the responder's IKE_SA_INIT.
	requests []*message.CertReq
	// early is a request of the responder's that has to wait until it is authenticated.
	early *earlyRequest
	// reauth is the IKE SA in whose place this one comes.
	reauth *ikeSA
}

// want adds children to be made.
func (hs *handshake) want(names ...string) {
	for _, name := range names {
		if hs.child != nil && hs.child.cfg.Name == name {
			continue
		}
		hs.wanted = appendNew(hs.wanted, name)
	}
}

// natState is what NAT detection found (RFC 7296 section 2.23).
type natState struct {
	supported bool // the peer sent what is needed
	us, them  bool // behind a NAT
}

// natHash is the data of a NAT_DETECTION notification.
func natHash(spi crypto.SPIs, a netip.AddrPort) []byte {
	b := binary.BigEndian.AppendUint64(nil, spi.Initiator)
	b = binary.BigEndian.AppendUint64(b, spi.Responder)
	b = append(b, a.Addr().AsSlice()...)
	sum := sha1.Sum(binary.BigEndian.AppendUint16(b, a.Port()))
	return sum[:]
}

// natNotifies are our two notifications. Pretending lets the peer find a NAT before us.
func natNotifies(spi crypto.SPIs, path Path, pretend bool) []message.Payload {
	source := natHash(spi, path.Local)
	if pretend || !path.Local.Addr().IsValid() {
		source = natHash(spi, netip.AddrPort{})
	}
	return []message.Payload{
		&message.Notify{Type: message.NATDetectionSourceIP, Data: source},
		&message.Notify{Type: message.NATDetectionDestinationIP, Data: natHash(spi, path.Remote)},
	}
}

// detectNAT compares the peer's notifications with where its message came from and went to.
func detectNAT(payloads []message.Payload, spi crypto.SPIs, path Path) natState {
	sources := message.FindNotifies(payloads, message.NATDetectionSourceIP)
	destination := message.FindNotify(payloads, message.NATDetectionDestinationIP)
	if len(sources) == 0 || destination == nil {
		return natState{}
	}
	n := natState{supported: true, them: true}
	remote := string(natHash(spi, path.Remote))
	for _, s := range sources {
		if string(s.Data) == remote {
			n.them = false
		}
	}
	n.us = string(destination.Data) != string(natHash(spi, path.Local))
	return n
}

// deriveInitial keys the IKE SA with what IKE_SA_INIT gave (RFC 7296 section 2.14).
func (sa *ikeSA) deriveInitial(shared []byte) error {
	suite := sa.sec.choice.Suite()
	keys, err := suite.Initial(shared, sa.hs.nonces, sa.spi)
	if err != nil {
		return fmt.Errorf("deriving the keys of an IKE SA: %w", err)
	}
	return sa.setKeys(suite, keys)
}

// signed returns what a side proves (RFC 7296 section 2.15). authID is the message ID of the first IKE_AUTH exchange.
func (sa *ikeSA) signed(byInitiator bool, id message.ID, authID uint32) []byte {
	hs := sa.hs
	msg, nonce, skp := hs.theirs, hs.nonces.Initiator, sa.sec.keys.PR
	if byInitiator {
		nonce, skp = hs.nonces.Responder, sa.sec.keys.PI
	}
	if byInitiator == sa.initiator {
		msg = hs.ours
	}
	return crypto.SignedOctets(sa.sec.suite.PRF, msg, nonce, skp, id.Signed(), hs.intAuth.Octets(authID))
}

// authenticate takes an IKE_INTERMEDIATE message of ours into what AUTH covers (RFC 9242 section 3.3).
func (hs *handshake) authenticate(sa *ikeSA, h message.Header, first message.PayloadType, content []byte, byInitiator bool) error {
	start, err := message.AppendSK(nil, h, nil, first, len(content))
	if err != nil {
		return err
	}
	if byInitiator {
		hs.intAuth.Request(sa.sec.suite.PRF, sa.sec.keys.PI, start, content)
	} else {
		hs.intAuth.Response(sa.sec.suite.PRF, sa.sec.keys.PR, start, content)
	}
	return nil
}

// authenticateParsed does it for one of the peer's.
func (hs *handshake) authenticateParsed(sa *ikeSA, h message.Header, first message.PayloadType, content []byte) {
	_ = hs.authenticate(sa, h, first, content, !sa.initiator) // it cannot fail: the message was parsed
}

// readAbilities takes note of what the peer says in IKE_SA_INIT.
func readAbilities(payloads []message.Payload) abilities {
	a := abilities{
		fragments:    message.FindNotify(payloads, message.FragmentationSupported) != nil,
		intermediate: message.FindNotify(payloads, message.IntermediateExchangeSupported) != nil,
	}
	if n := message.FindNotify(payloads, message.SignatureHashAlgorithms); n != nil {
		ids, _ := n.Uint16s()
		for _, id := range ids {
			a.hashes = append(a.hashes, crypto.HashID(id))
		}
	}
	return a
}

func hashesNotify() *message.Notify {
	var ids []uint16
	for _, id := range crypto.SignatureHashes() {
		ids = append(ids, uint16(id))
	}
	return message.NotifyUint16s(message.SignatureHashAlgorithms, ids...)
}

func appendNew(all []string, name string) []string {
	for _, n := range all {
		if n == name {
			return all
		}
	}
	return append(all, name)
}
