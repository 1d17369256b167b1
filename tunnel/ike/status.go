package ike

import (
	"cmp"
	"slices"
	"time"
)

// What `warren sas` shows.

// An IKEStatus is an IKE SA as it is now.
type IKEStatus struct {
	IKE
	State            string // as swanctl names it
	Suite            string // "" before it is negotiated
	Established      time.Time
	Heard            time.Time // when the peer last proved to be alive
	Rekey, Reauth    time.Time // when they are due; zero for never
	Leased, Assigned Lease
	Children         []ChildStatus
}

// A ChildStatus is a child SA as it is now, without its keys.
type ChildStatus struct {
	ChildSA
	State     string
	Installed time.Time
	Used      Usage // as last reported
}

// Status returns all IKE SAs, by number, and their children, in the order in which they were made.
func (e *Endpoint) Status() []IKEStatus {
	all := make([]IKEStatus, 0, len(e.sas))
	for _, sa := range e.sas {
		if sa.state == closed {
			continue
		}
		s := IKEStatus{
			IKE: sa.info(), State: sa.state.String(), Established: sa.life.established, Heard: sa.life.heard,
			Rekey: due(&sa.life.rekey), Reauth: due(&sa.life.reauth), Leased: sa.leased, Assigned: sa.assigned,
		}
		if sa.sec.keys != nil {
			s.Suite = sa.sec.choice.String()
		}
		for _, c := range sa.children {
			is := c.is
			is.InKey, is.OutKey = nil, nil
			s.Children = append(s.Children, ChildStatus{ChildSA: is, State: c.state.String(), Installed: c.born, Used: c.carried})
		}
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b IKEStatus) int {
		return cmp.Or(cmp.Compare(a.Number, b.Number), cmp.Compare(a.SPIs.Initiator, b.SPIs.Initiator))
	})
	return all
}

func due(t *timer) time.Time {
	if t.place == 0 {
		return time.Time{}
	}
	return t.at
}
