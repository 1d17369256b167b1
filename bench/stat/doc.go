// Package stat is the little statistics that a benchmark of few rounds bears: the median, and the spread around it.
//
// Means and deviations are left out on purpose: on a machine whose speed wanders they say less than the extremes do. A pair
// of things measured in the same round is compared round by round (see [Ratios]), so that what slowed both cancels out.
package stat
