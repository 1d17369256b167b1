package proposal

import (
	"fmt"

	"github.com/warrenvpn/warren/tunnel/ike/crypto"
	"github.com/warrenvpn/warren/tunnel/ike/message"
)

// An InvalidKE says that a KE payload is not of the method that was chosen. A responder answers it with INVALID_KE_PAYLOAD
// and the number that it wants (RFC 7296 section 1.3).
type InvalidKE struct{ Sent, Want crypto.GroupID }

func (e *InvalidKE) Error() string {
	return fmt.Sprintf("the KE payload is of method %s, wanted is %s", spellKE(e.Sent), spellKE(e.Want))
}

func spellKE(id crypto.GroupID) string {
	return spell(message.Transform{Type: message.TransformKE, ID: uint16(id)})
}

// CheckKE says whether the method of the initiator's KE payload is the chosen one: the error is an *InvalidKE. Where the
// choice is without a key exchange any payload will do, since it is not looked at. sent is crypto.GroupNone where there is
// no KE payload.
func (c Choice) CheckKE(sent crypto.GroupID) error {
	if want := c.KE(); want != crypto.GroupNone && want != sent {
		return &InvalidKE{Sent: sent, Want: want}
	}
	return nil
}

// Guess returns the method with which an initiator begins: the first of the first proposal that has one, crypto.GroupNone if
// none has.
func (l List) Guess() crypto.GroupID {
	for _, p := range l {
		for _, t := range of(p.Transforms, message.TransformKE) {
			if !isNone(t) {
				return crypto.GroupID(t.ID)
			}
		}
	}
	return crypto.GroupNone
}

// Retry says whether an initiator may follow an INVALID_KE_PAYLOAD: the method that the responder wants must be one that was
// offered, and not the one that was sent. All proposals are then offered again (RFC 7296 section 1.2), so that who forges the
// notify cannot talk the two into a weaker choice.
func (l List) Retry(sent, want crypto.GroupID) error {
	if want == sent {
		return fmt.Errorf("the responder asks for the key exchange method %s, which it was sent", spellKE(want))
	}
	for _, p := range l {
		for _, t := range of(p.Transforms, message.TransformKE) {
			if !isNone(t) && crypto.GroupID(t.ID) == want {
				return nil
			}
		}
	}
	return fmt.Errorf("the responder asks for the key exchange method %s, which is not among %v", spellKE(want), l)
}
