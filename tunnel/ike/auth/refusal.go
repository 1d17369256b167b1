package auth

import (
	"fmt"
	"strings"
)

// A Reason is why a proof, or what goes with it, is refused. It is an error so that errors.Is finds it in a Refusal.
type Reason uint8

// The reasons.
const (
	WrongIdentity Reason = 1 + iota // not the identity that is wanted
	WrongMethod                     // not the method of authentication that is wanted
	NoSecret                        // there is no secret for the two identities
	WrongSecret
	TooMuch       // more certificates or bytes than anybody needs
	NoCertificate // nothing that can be used was sent
	WrongKey      // a key of a kind, of a length or with a usage that is refused
	Unconfirmed   // the certificate does not have the identity
	NotValid      // a certificate is not valid yet, or no longer
	Untrusted     // no chain to an authority that is trusted
	Revoked
	Unknown // whether a certificate is revoked is not known
	WrongSignature
)

var reasons = [...]string{WrongIdentity: "identity", WrongMethod: "authentication method", NoSecret: "shared secret",
	WrongSecret: "shared secret", TooMuch: "certificates", NoCertificate: "certificate", WrongKey: "public key",
	Unconfirmed: "identity in the certificate", NotValid: "validity of the certificate", Untrusted: "certificate chain",
	Revoked: "revocation", Unknown: "revocation", WrongSignature: "signature"}

// String says what the refusal is about.
func (r Reason) String() string {
	if int(r) < len(reasons) && reasons[r] != "" {
		return reasons[r]
	}
	return fmt.Sprintf("reason %d", uint8(r))
}

// Error implements error.
func (r Reason) Error() string { return r.String() }

// A Refusal says why a peer is not who it says, or why we cannot prove to it who we are.
type Refusal struct {
	Reason          Reason
	Offered, Wanted string
	Err             error // the cause, where there is more to say
}

// Error says what was offered and what was wanted.
func (r *Refusal) Error() string {
	text := fmt.Sprintf("%v: offered %s, wanted %s", r.Reason, r.Offered, r.Wanted)
	if r.Err != nil {
		text += ": " + r.Err.Error()
	}
	return text
}

// Unwrap gives the reason and the cause.
func (r *Refusal) Unwrap() []error {
	if r.Err == nil {
		return []error{r.Reason}
	}
	return []error{r.Reason, r.Err}
}

// orNothing names what there is, some of it if there is much.
func orNothing(what []string) string {
	const most = 8
	switch {
	case len(what) == 0:
		return "nothing"
	case len(what) > most:
		return fmt.Sprintf("%s and %d others", strings.Join(what[:most], "; "), len(what)-most)
	}
	return strings.Join(what, "; ")
}
