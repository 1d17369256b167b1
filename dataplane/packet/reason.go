package packet

// Reason says why a packet went no further. The zero Reason is none: the packet lives.
type Reason uint8

// The one table of drop reasons. Their names are part of the program's interface (`warren drops`).
const (
	None Reason = iota

	// What the parse refuses.
	Malformed  // a header is cut off or contradicts itself
	NotIP      // neither IPv4 nor IPv6
	BadOffload // the port's offload fields point outside the packet

	// What the route table refuses.
	NoRoute        // no route covers the destination
	Unreachable    // the route says unreachable, blackhole or prohibit
	Hairpin        // the way leads back to where the packet came from
	Loop           // one of our own sealed packets came back through a port
	TTLExceeded    // hop limit spent between two tunnels
	TooBig         // does not fit the tunnel and may not be fragmented
	NotForwardable // multicast, broadcast, unspecified or link-local: stays on its link (RFC 4291 section 2.5.6)

	// What the tunnel refuses outbound.
	NoSA        // no SA to seal with
	SAExhausted // sequence numbers used up (RFC 4303 section 3.3.3)
	SelectorOut // the SA's traffic selectors do not cover the packet
	TunnelDown  // the tunnel was taken down
	WaitingFull // as many packets as may wait for a key do so already

	// What the tunnel refuses inbound.
	UnknownSPI    // no SA has this SPI
	FrameShort    // too short for the SA's suite
	Replayed      // sequence number seen before
	TooOld        // sequence number left of the replay window
	BadICV        // integrity check failed
	BadPadding    // padding is not 1, 2, 3 ...
	BadNextHeader // next header and inner packet contradict each other
	Dummy         // a dummy packet, next header 59 (RFC 4303 section 2.6): meant to go nowhere
	SelectorIn    // the SA's traffic selectors do not cover the inner packet (RFC 4301 section 5.2)
	ECNInvalid    // outer CE over an inner packet that is not ECN-capable (RFC 6040 section 4.2)
	NotControl    // an IKE message, and nobody here speaks IKE

	// What the edges refuse.
	PortFull            // the port's queue is full
	PortDown            // the port is gone or refuses
	UnderlayFull        // the socket's buffer is full, or the queue of who handles control messages
	UnderlayUnreachable // the kernel has no way to the peer, or forbids it
	UnderlayTooBig      // larger than the path takes and not to be fragmented
	PeerUnknown         // the tunnel does not know yet where its peer is

	NumReasons // how many there are; not a reason
)

var reasonNames = [NumReasons]string{
	None: "none", Malformed: "malformed", NotIP: "not_ip", BadOffload: "bad_offload",
	NoRoute: "no_route", Unreachable: "unreachable", Hairpin: "hairpin", Loop: "loop", TTLExceeded: "ttl_exceeded",
	TooBig: "too_big", NotForwardable: "not_forwardable",
	NoSA: "no_sa", SAExhausted: "sa_exhausted", SelectorOut: "selector_out", TunnelDown: "tunnel_down", WaitingFull: "waiting_full",
	UnknownSPI: "unknown_spi", FrameShort: "frame_short", Replayed: "replayed", TooOld: "too_old", BadICV: "bad_icv",
	BadPadding: "bad_padding", BadNextHeader: "bad_next_header", Dummy: "dummy", SelectorIn: "selector_in",
	ECNInvalid: "ecn_invalid", NotControl: "not_control",
	PortFull: "port_full", PortDown: "port_down", UnderlayFull: "underlay_full",
	UnderlayUnreachable: "underlay_unreachable", UnderlayTooBig: "underlay_too_big", PeerUnknown: "peer_unknown",
}

// String returns the name that status, logs and metrics use.
func (r Reason) String() string {
	if r < NumReasons {
		return reasonNames[r]
	}
	return "reason?"
}

// Reasons returns every reason but None, in the order of the table.
func Reasons() []Reason {
	rs := make([]Reason, 0, NumReasons-1)
	for r := None + 1; r < NumReasons; r++ {
		rs = append(rs, r)
	}
	return rs
}
