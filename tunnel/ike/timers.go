package ike

import (
	"container/heap"
	"time"
)

// A timer calls a function when its time has come. The zero value is stopped. It belongs to one queue at most.
type timer struct {
	at   time.Time
	fire func()
	// place is 1 + the index in the queue; 0 when stopped.
	place int
}

// timers is a queue ordered by time; of those due at once, the one set first in the heap's order fires first.
type timers struct{ heap timerHeap }

// set starts a timer, or moves one that runs.
func (q *timers) set(t *timer, at time.Time, fire func()) {
	t.at, t.fire = at, fire
	if t.place == 0 {
		heap.Push(&q.heap, t)
	} else {
		heap.Fix(&q.heap, t.place-1)
	}
}

func (q *timers) stop(t *timer) {
	if t.place != 0 {
		heap.Remove(&q.heap, t.place-1)
	}
	t.fire = nil
}

// next returns when the first timer is due; the zero time if none runs.
func (q *timers) next() time.Time {
	if len(q.heap) == 0 {
		return time.Time{}
	}
	return q.heap[0].at
}

// due takes the first timer that is due out of the queue and returns what it calls; nil if none is.
func (q *timers) due(now time.Time) func() {
	if len(q.heap) == 0 || q.heap[0].at.After(now) {
		return nil
	}
	t := heap.Pop(&q.heap).(*timer)
	fire := t.fire
	t.fire = nil
	return fire
}

type timerHeap []*timer

func (h timerHeap) Len() int           { return len(h) }
func (h timerHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }

func (h timerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i+1, j+1
}

func (h *timerHeap) Push(x any) {
	t := x.(*timer)
	*h = append(*h, t)
	t.place = len(*h)
}

func (h *timerHeap) Pop() any {
	last := len(*h) - 1
	t := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	t.place = 0
	return t
}
