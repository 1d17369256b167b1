package deadline

import (
	"container/heap"
	"time"
)

// Earliest is the earliest of some times, of which zero is never.
func Earliest(times ...time.Time) (first time.Time) {
	for _, t := range times {
		if first.IsZero() || !t.IsZero() && t.Before(first) {
			first = t
		}
	}
	return first
}

// Slot is an item's place in a Queue. An item embeds one; the zero value is in no Queue.
type Slot struct {
	at    time.Time
	place int // 1 + the index in the heap
}

func (s *Slot) self() *Slot { return s }

// Item is what has a Slot, mostly a pointer to a struct that embeds one.
type Item interface{ self() *Slot }

// Queue orders items by when they are due. An item is in one Queue at most. The zero value is empty.
type Queue[T Item] struct{ heap byTime[T] }

// Set has an item due at a time, whether or not it was in the queue; the zero time takes it out.
func (q *Queue[T]) Set(item T, at time.Time) {
	s := item.self()
	s.at = at
	switch {
	case at.IsZero() && s.place == 0:
	case at.IsZero():
		heap.Remove(&q.heap, s.place-1)
	case s.place != 0:
		heap.Fix(&q.heap, s.place-1)
	default:
		heap.Push(&q.heap, item)
	}
}

// At is when an item is due; zero if it is not in the queue.
func (q *Queue[T]) At(item T) time.Time { return item.self().at }

// First is the item that is due first, and when; the zero time if the queue is empty.
func (q *Queue[T]) First() (item T, at time.Time) {
	if len(q.heap) == 0 {
		return item, time.Time{}
	}
	return q.heap[0], q.heap[0].self().at
}

// Clear takes all items out.
func (q *Queue[T]) Clear() {
	for _, item := range q.heap {
		*item.self() = Slot{}
	}
	q.heap = nil
}

// byTime is a heap.Interface.
type byTime[T Item] []T

func (h byTime[T]) Len() int           { return len(h) }
func (h byTime[T]) Less(i, j int) bool { return h[i].self().at.Before(h[j].self().at) }

func (h byTime[T]) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].self().place, h[j].self().place = i+1, j+1
}

func (h *byTime[T]) Push(x any) {
	item := x.(T)
	*h = append(*h, item)
	item.self().place = len(*h)
}

func (h *byTime[T]) Pop() any {
	last := len(*h) - 1
	item := (*h)[last]
	clear((*h)[last:])
	*h = (*h)[:last]
	item.self().place = 0
	return item
}
