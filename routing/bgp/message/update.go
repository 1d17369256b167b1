package message

import (
	"net/netip"

	"github.com/warrenvpn/warren/routing/route"
)

// Options are what two neighbours have agreed on, as far as UPDATE messages depend on it.
type Options struct {
	// FourOctetAS says that both sides announced 4-octet AS numbers (RFC 6793).
	FourOctetAS bool
	// ExtendedNextHop says that both sides announced IPv4 prefixes over IPv6 next hops (RFC 8950).
	ExtendedNextHop bool
	// Families were announced by both sides; what comes of others is ignored.
	Families Families
	// IBGP says that the neighbour is in our AS. LOCAL_PREF, ORIGINATOR_ID and CLUSTER_LIST are neither sent to other
	// neighbours nor taken from them (RFC 7606 section 7).
	IBGP bool
	// FirstAS, if not 0, is the AS that received paths must begin with: the neighbour's, for an external neighbour that is not a
	// route server (RFC 4271 section 6.3).
	FirstAS uint32
}

// Treatment is how an UPDATE with errors was treated, in ascending order of severity (RFC 7606 section 2).
type Treatment uint8

// The treatments. The remaining one of RFC 7606, session reset, is the error that ParseUpdate returns.
const (
	// Accepted: there was nothing wrong.
	Accepted Treatment = iota
	// PartIgnored: prefixes of a family that was not agreed on, or that nobody can route to, were left out.
	PartIgnored
	// AttributeDiscard: attributes were left out.
	AttributeDiscard
	// TreatAsWithdraw: all prefixes of the message are in Withdrawn.
	TreatAsWithdraw
)

var treatmentNames = [...]string{"accepted", "part-ignored", "attribute-discard", "treat-as-withdraw"}

func (t Treatment) String() string { return treatmentNames[t] }

// Reach are prefixes of one family that are reachable with the same attributes.
type Reach struct {
	Family Family
	// Attrs are new in each message, and nobody changes them.
	Attrs *route.Attrs
	// Prefixes are masked, and valid until the next ParseUpdate into the same Update.
	Prefixes []netip.Prefix
}

// Update is an UPDATE message. The zero value is ready for ParseUpdate.
type Update struct {
	// Withdrawn are to be applied before Reach: a prefix in both is reachable (RFC 4271 section 4.3). Both families may be in
	// it, masked, and valid until the next ParseUpdate.
	Withdrawn []netip.Prefix
	// Reach has at most one entry for the NLRI field and one for MP_REACH_NLRI. Their Attrs differ in the next hop.
	Reach []Reach
	// EndOfRIB is the family whose End-of-RIB marker (RFC 4724 section 2) this message is, or 0.
	EndOfRIB Family
	// Treatment says what was done about errors, and Problem why, for the log; it is empty if Treatment is Accepted.
	Treatment Treatment
	Problem   string

	prefixes []netip.Prefix // backs Reach
	parser   parser

	// block and words are what Attrs were last made of, and are to be again if unused.
	block  *block
	words  []uint32
	unused bool
}

// Unused says that nobody keeps Attrs of Reach: because they are known already, as of nearly all messages of a neighbour that
// announces a table prefix by prefix. The next ParseUpdate may then use their memory again.
func (u *Update) Unused() { u.unused = true }
