package bgp

import (
	"fmt"
	"time"

	"github.com/warrenvpn/warren/routing/bgp/message"
)

// State of a session (RFC 4271 section 8.2.2).
type State uint8

// The states, in the order in which a session passes them.
const (
	Idle State = iota
	Connect
	Active
	OpenSent
	OpenConfirm
	Established
)

// String is the name in RFC 4271.
func (s State) String() string {
	names := [...]string{"Idle", "Connect", "Active", "OpenSent", "OpenConfirm", "Established"}
	if int(s) < len(names) {
		return names[s]
	}
	return fmt.Sprintf("state %d", uint8(s))
}

// ConnID names a transport connection of one Machine; 0 is none.
type ConnID uint32

// An Action is what the machine wants done, or what it says has happened. They are carried out in order.
type Action interface{ action() }

// The actions on connections.
type (
	// Dial asks for a connection to the neighbour; Dialed or Failed answers. Close may come before.
	Dial struct{ Conn ConnID }
	// Send asks for one whole message to be sent.
	Send struct {
		Conn ConnID
		Data []byte
	}
	// Close ends a connection or an attempt, after what was asked to be sent before was sent, or could not be in a short
	// time. The machine wants to hear nothing of it any more.
	Close struct{ Conn ConnID }
)

// The events.
type (
	// StateChange says that the session changed its state, and why where it went back.
	StateChange struct {
		From, To State
		Why      error
	}
	// Up says that the session is Established.
	Up struct {
		Conn       ConnID
		Negotiated *Negotiated
	}
	// Learned is an UPDATE. The value is borrowed until the next call of Receive.
	Learned struct{ Update *message.Update }
	// Refresh asks for all that we announce of a family (RFC 2918).
	Refresh struct{ Family message.Family }
	// EndOfRIB says that the neighbour has announced all it has of a family (RFC 4724 section 2).
	EndOfRIB struct{ Family message.Family }
	// Down says that the session is no more. What was learned of the families in Stale is kept, as stale; all else goes.
	Down struct {
		Why   error
		Stale message.Families
	}
	// Sweep says that what is still stale of a family goes.
	Sweep struct{ Family message.Family }
	// Warning is for people.
	Warning struct{ Err error }
)

func (Dial) action()        {}
func (Send) action()        {}
func (Close) action()       {}
func (StateChange) action() {}
func (Up) action()          {}
func (Learned) action()     {}
func (Refresh) action()     {}
func (EndOfRIB) action()    {}
func (Down) action()        {}
func (Sweep) action()       {}
func (Warning) action()     {}

// Negotiated is what both sides' OPENs agreed on.
type Negotiated struct {
	// Open is the neighbour's.
	Open *message.OpenMessage
	// Hold and Keepalive are 0 where there are no keepalives.
	Hold, Keepalive, SendHold time.Duration
	// Families are those that both want.
	Families message.Families
	// Options are what the codec needs to know.
	Options message.Options
	// Refresh says that both know ROUTE-REFRESH.
	Refresh bool
	// Kept are the families that the neighbour asks us to keep while it restarts, for RestartTime (RFC 4724).
	Kept        message.Families
	RestartTime time.Duration
	// EndOfRIB says that the neighbour knows the End-of-RIB marker.
	EndOfRIB bool
}
