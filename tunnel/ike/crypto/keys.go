package crypto

import (
	"encoding/binary"
	"fmt"
	"io"
	"slices"
)

// Nonces have these lengths in bytes, and at least half the length of the PRF's key (RFC 7296 sections 2.10, 3.9).
const (
	MinNonce = 16
	MaxNonce = 256
)

// CheckNonce says whether a peer's nonce has a length that its PRF allows.
func CheckNonce(prf PRFID, nonce []byte) error {
	if least := max(MinNonce, prf.Len()/2); len(nonce) < least || len(nonce) > MaxNonce {
		return fmt.Errorf("a nonce of %d bytes; it must have %d to %d", len(nonce), least, MaxNonce)
	}
	return nil
}

// Nonces are those of the exchange that makes keys, by its initiator and responder, without payload headers.
type Nonces struct{ Initiator, Responder []byte }

func (n Nonces) joined() []byte { return slices.Concat(n.Initiator, n.Responder) }

// SPIs are those of an IKE SA, by its original initiator and responder.
type SPIs struct{ Initiator, Responder uint64 }

// seed is what prf+ expands SKEYSEED with: Ni | Nr | SPIi | SPIr.
func (s SPIs) seed(n Nonces) []byte {
	seed := binary.BigEndian.AppendUint64(n.joined(), s.Initiator)
	return binary.BigEndian.AppendUint64(seed, s.Responder)
}

// Suite is what the keys of an IKE SA are made by and for.
type Suite struct {
	PRF    PRFID
	Cipher Cipher
}

// Check says what is wrong with the suite, if anything.
func (s Suite) Check() error {
	if err := s.PRF.Check(); err != nil {
		return err
	}
	return s.Cipher.Check()
}

// Keys are the keys of an IKE SA (RFC 7296 section 2.14). Printing them by accident shows none.
type Keys struct {
	D      []byte // SK_d: child SAs and later IKE SAs come from it
	AI, AR []byte // SK_ai, SK_ar: integrity; empty with an AEAD
	EI, ER []byte // SK_ei, SK_er: encryption, an AEAD's salt behind its key
	PI, PR []byte // SK_pi, SK_pr: authentication
}

// Format says what this is in place of the secrets.
func (k *Keys) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "keys of an IKE SA") }

// Wipe overwrites the keys.
func (k *Keys) Wipe() {
	for _, key := range [][]byte{k.D, k.AI, k.AR, k.EI, k.ER, k.PI, k.PR} {
		clear(key)
	}
}

// Initial derives the keys of an IKE SA from the key exchange of IKE_SA_INIT (RFC 7296 section 2.14).
func (s Suite) Initial(shared []byte, n Nonces, spis SPIs) (*Keys, error) {
	if err := s.Check(); err != nil {
		return nil, err
	}
	return s.expand(s.PRF.Sum(n.joined(), shared), n, spis)
}

// Additional derives the keys that follow an additional key exchange in IKE_INTERMEDIATE (RFC 9370 section 2.2.2). The
// nonces are still those of IKE_SA_INIT; previous are the keys so far.
func (s Suite) Additional(previous *Keys, shared []byte, n Nonces, spis SPIs) (*Keys, error) {
	return s.Rekeyed(s.PRF, previous, [][]byte{shared}, n, spis)
}

// Rekeyed derives the keys of an IKE SA that replaces another (RFC 7296 section 2.18): oldPRF and old are the replaced
// SA's, shared the results of the exchange's key exchanges in order, more than one with additional ones (RFC 9370 section
// 2.2.4), the SPIs those of the new SA.
func (s Suite) Rekeyed(oldPRF PRFID, old *Keys, shared [][]byte, n Nonces, spis SPIs) (*Keys, error) {
	if err := s.Check(); err != nil {
		return nil, err
	}
	if err := oldPRF.Check(); err != nil {
		return nil, err
	}
	if len(shared) == 0 {
		return nil, fmt.Errorf("an IKE SA is rekeyed with at least one key exchange")
	}
	return s.expand(oldPRF.Sum(old.D, fresh(shared, n)...), n, spis)
}

// fresh is what a CREATE_CHILD_SA exchange brings into new keys: [SK(0)] | Ni | Nr | [SK(1) ...] (RFC 9370 section 2.2.4).
func fresh(shared [][]byte, n Nonces) [][]byte {
	if len(shared) == 0 {
		return [][]byte{n.Initiator, n.Responder}
	}
	return append([][]byte{shared[0], n.Initiator, n.Responder}, shared[1:]...)
}

// expand takes prf+ of SKEYSEED apart.
func (s Suite) expand(skeyseed []byte, n Nonces, spis SPIs) (*Keys, error) {
	prf, integ, encr := s.PRF.Len(), s.Cipher.IntegLen(), s.Cipher.EncrLen()
	stream, err := s.PRF.Plus(skeyseed, spis.seed(n), 3*prf+2*integ+2*encr)
	if err != nil {
		return nil, err
	}
	next := func(n int) []byte {
		part := stream[:n:n]
		stream = stream[n:]
		return part
	}
	k := &Keys{D: next(prf)}
	k.AI, k.AR = next(integ), next(integ)
	k.EI, k.ER = next(encr), next(encr)
	k.PI, k.PR = next(prf), next(prf)
	return k, nil
}

// ChildKeys are the keys of an ESP SA pair, each as package esp takes it: the encryption key, then the salt of an AEAD or the
// integrity key of the others. Printing them by accident shows none.
type ChildKeys struct {
	Initiator []byte // protects what the initiator of the exchange sends
	Responder []byte // protects what its responder sends
}

// Format says what this is in place of the secrets.
func (k *ChildKeys) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "keys of a child SA") }

// Child derives the keys of an ESP SA pair from SK_d of its IKE SA, whose PRF it uses (RFC 7296 section 2.17). The nonces
// are those of the exchange that creates the child: IKE_SA_INIT's for the child of IKE_AUTH. shared holds the results of
// that exchange's key exchanges in order: none without PFS, more than one with additional ones (RFC 9370 section 2.2.4).
func Child(prf PRFID, keys *Keys, cipher Cipher, shared [][]byte, n Nonces) (*ChildKeys, error) {
	if err := cipher.Check(); err != nil {
		return nil, err
	}
	each := cipher.EncrLen() + cipher.IntegLen()
	keymat, err := prf.Plus(keys.D, slices.Concat(fresh(shared, n)...), 2*each)
	if err != nil {
		return nil, err
	}
	return &ChildKeys{Initiator: keymat[:each:each], Responder: keymat[each:]}, nil
}
