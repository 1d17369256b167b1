package deadline

import (
	"math/rand/v2"
	"testing"
	"time"
)

type task struct {
	Slot
	due time.Time // as the model has it; zero: not in the queue
}

// TestAgainstModel: whatever is set, moved and taken out, the first is the earliest of all that are in.
func TestAgainstModel(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	begin := time.Unix(1, 0)
	tasks := make([]task, 40)
	var q Queue[*task]
	for step := range 20_000 {
		x := &tasks[r.IntN(len(tasks))]
		x.due = begin.Add(time.Duration(r.IntN(100)))
		if r.IntN(3) == 0 {
			x.due = time.Time{}
		}
		q.Set(x, x.due)
		if r.IntN(1000) == 0 {
			q.Clear()
			for i := range tasks {
				tasks[i].due = time.Time{}
			}
		}
		var want time.Time
		for i := range tasks {
			if x := &tasks[i]; !q.At(x).Equal(x.due) {
				t.Fatalf("step %d: due at %v, want %v", step, q.At(x), x.due)
			} else if !x.due.IsZero() && (want.IsZero() || x.due.Before(want)) {
				want = x.due
			}
		}
		first, at := q.First()
		if !at.Equal(want) || !at.IsZero() && !first.due.Equal(at) {
			t.Fatalf("step %d: the first is %+v at %v, want one at %v", step, first, at, want)
		}
	}
}

func TestEarliest(t *testing.T) {
	a, b, never := time.Unix(1, 0), time.Unix(2, 0), time.Time{}
	for _, c := range []struct {
		times []time.Time
		want  time.Time
	}{
		{nil, never}, {[]time.Time{never}, never}, {[]time.Time{a, b}, a}, {[]time.Time{b, a}, a},
		{[]time.Time{never, b}, b}, {[]time.Time{b, never, never}, b}, {[]time.Time{b, never, a}, a},
	} {
		if got := Earliest(c.times...); !got.Equal(c.want) {
			t.Errorf("of %v: %v", c.times, got)
		}
	}
}
