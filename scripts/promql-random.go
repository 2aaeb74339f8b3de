// Random expressions over floats, histograms and the labels __type__ and __unit__, as a script for promqltest whose
// expectations are what Prometheus's engine answers. Run by scripts/promql-random.
package random

import (
	"context"
	"fmt"
	"math"
	"math/rand"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/promqltest"
)

// Counters that restart, gauges with NaN, Inf, gaps and stale markers, histograms of all kinds, both kinds in one series.
const load = `load 30s
  c_total{job="a",i="1",__type__="counter",__unit__="requests"} 0+3x20 1+5x39
  c_total{job="a",i="2",__type__="counter",__unit__="requests"} 5+1x60
  c_total{job="b",i="1"} _x10 7+2x49
  d_total{job="a",i="1",__type__="counter"} 1+1x60
  g{job="a",i="1",__type__="gauge",__unit__="bytes"} 5 -3 7 NaN 2 8 1 Inf 4 -2 9 0 6 5 3 1 stale _x5 4+0.5x38
  g{job="a",i="2",__type__="gauge",__unit__="bytes"} 1+0.25x60
  g{job="b",i="1",__type__="gauge"} -10+1.5x60
  e{job="a",i="1"} 2 4 8 16 -1 -0 0 3x54
  e{job="c",i="3"} 1x60
  h{job="a",i="1"} {{schema:0 sum:5 count:4 buckets:[1 2 1]}}+{{schema:0 sum:3 count:4 buckets:[1 2 1]}}x60
  h{job="a",i="2"} {{schema:1 sum:5 count:9 z_bucket:2 z_bucket_w:0.01 buckets:[1 2 1] n_buckets:[1 2]}}+{{schema:1 sum:3 count:4 buckets:[1 2 1]}}x30 {{schema:1 sum:1 count:1 buckets:[1]}}+{{schema:1 sum:3 count:4 buckets:[1 2 1]}}x29
  h{job="b",i="1"} {{schema:-53 sum:5 count:10 custom_values:[1 5 10] buckets:[2 3 4 1]}}+{{schema:-53 sum:5 count:10 custom_values:[1 5 10] buckets:[2 3 4 1]}}x60
  hg{job="a",i="1",__type__="gauge"} {{schema:0 sum:5 count:4 buckets:[1 2 1] counter_reset_hint:gauge}}x30 {{schema:0 sum:2 count:2 buckets:[0 1 1] counter_reset_hint:gauge}}x29
  mix{job="a"} 1+1x30 {{schema:0 sum:5 count:4 buckets:[1 2 1]}}x29
  target_info{job="a",i="1",instance="x",v="1"} 1x60
  b_bucket{job="a",le="1"} 0+2x60
  b_bucket{job="a",le="2.5"} 0+3x60
  b_bucket{job="a",le="+Inf"} 0+5x60
  http.x{"a.b"="1",job="a"} 1+2x60
`

var r *rand.Rand

func pick(s ...string) string { return s[r.Intn(len(s))] }

func dur() string { return pick("1m", "2m30s", "5m", "45s", "10m", "30s") }
func mod() string {
	return pick("", "", "", "", "", " offset 1m", " offset -30s", " @ 900", " offset 2m")
}
func matcher() string {
	return pick("", "", "", `{job="a"}`, `{i!="2"}`, `{job=~"a|b"}`, `{__type__="gauge"}`, `{__unit__=""}`, `{i=~"1|3"}`)
}
func sel() string {
	return pick("c_total", "c_total", "g", "g", "e", "h", "h", "hg", "mix", "d_total", "b_bucket", "http.x", "nosuch") + matcher()
}
func num() string {
	return pick("0", "1", "2", "-1", "0.5", "NaN", "Inf", "-Inf", "1e3", "0.9", "3")
}
func scalar(d int) string {
	if d > 0 && r.Intn(4) == 0 {
		return pick("time()", "scalar("+vec(d-1)+")", "pi()", "("+num()+" + "+num()+")")
	}
	return num()
}
func rng(d int) string {
	if d > 0 && r.Intn(3) == 0 {
		return "(" + vec(d-1) + ")[" + dur() + ":" + pick("", "30s", "1m", "15s") + "]" + mod()
	}
	s := sel() + "[" + dur() + "]"
	return s + pick("", "", "", "", " anchored", " smoothed") + mod()
}
func grouping() string {
	return pick("", "", " by (job)", " by (i, job)", " without (i)", " without (job, __type__)", " by (__type__)", " without ()", " by (__unit__, i)")
}
func matching() string {
	on := pick("", "", "", " on (job)", " on (i, job)", " ignoring (i)", " ignoring (job)", " on (i, __type__)", " ignoring (__unit__)")
	if on == "" {
		return on + pick("", "", "", "", " fill (0)")
	}
	return on + pick("", "", "", " group_left", " group_right", " group_left (__type__)", " group_right ()", " fill_left (2)", " fill (1)", " group_left fill_right (3)")
}

// A vector of d levels. Left out is what the scripts cannot judge: limitk, whose choice is free, and @ end(), which means
// another time in some of the ways in which a case is run.
func vec(d int) string {
	if d <= 0 {
		return sel() + mod()
	}
	switch r.Intn(14) {
	case 0, 1:
		f := pick("rate", "increase", "delta", "irate", "idelta", "resets", "changes", "avg_over_time", "sum_over_time", "min_over_time", "max_over_time", "count_over_time", "last_over_time", "first_over_time", "stddev_over_time", "stdvar_over_time", "present_over_time", "absent_over_time", "deriv", "mad_over_time", "ts_of_max_over_time", "ts_of_last_over_time", "integral")
		return f + "(" + rng(d-1) + ")"
	case 2:
		return pick("quantile_over_time("+scalar(d-1)+", "+rng(d-1)+")", "predict_linear("+rng(d-1)+", 60)", "double_exponential_smoothing("+rng(d-1)+", 0.5, 0.5)", "integral("+rng(d-1)+", "+scalar(0)+")")
	case 3, 4:
		op := pick("sum", "avg", "min", "max", "count", "group", "stddev", "stdvar")
		return op + grouping() + " (" + vec(d-1) + ")"
	case 5:
		return pick("topk", "bottomk", "quantile", "quantile") + grouping() + " (" + pick("1", "2", "0.5", "0.9", "5") + ", " + vec(d-1) + ")"
	case 6:
		return "count_values" + grouping() + ` ("v", ` + vec(d-1) + ")"
	case 7, 8:
		op := pick("+", "-", "*", "/", "%", "^", "atan2", "==", "!=", ">", "<", ">=", "<=", "> bool", "== bool")
		return "(" + vec(d-1) + " " + op + matching() + " " + vec(d-1) + ")"
	case 9:
		return "(" + vec(d-1) + " " + pick("and", "or", "unless") + pick("", "", " on (job)", " ignoring (i)", " on (__type__)") + " " + vec(d-1) + ")"
	case 10:
		op := pick("+", "-", "*", "/", "%", "^", "==", "!=", ">", "< bool", "</", ">/")
		if r.Intn(2) == 0 {
			return "(" + vec(d-1) + " " + op + " " + scalar(d-1) + ")"
		}
		return "(" + scalar(d-1) + " " + op + " " + vec(d-1) + ")"
	case 11:
		return pick("histogram_count", "histogram_sum", "histogram_avg", "histogram_stddev", "histogram_stdvar", "abs", "ceil", "sgn", "sqrt", "exp", "ln", "timestamp", "absent", "-", "deg", "sort", "minute") + "(" + vec(d-1) + ")"
	case 12:
		return pick("histogram_quantile("+scalar(d-1)+", "+vec(d-1)+")", "histogram_fraction("+scalar(0)+", "+scalar(0)+", "+vec(d-1)+")", "clamp("+vec(d-1)+", "+num()+", "+num()+")", "round("+vec(d-1)+", "+num()+")", `label_replace(`+vec(d-1)+`, "z", "$1", "job", "(.*)")`, "info("+vec(d-1)+")", `histogram_quantiles(`+vec(d-1)+`, "q", 0.1, 0.9)`)
	default:
		return sel() + mod()
	}
}

func float(v float64) string {
	switch {
	case math.IsNaN(v):
		return "NaN"
	case math.IsInf(v, 1):
		return "Inf"
	case math.IsInf(v, -1):
		return "-Inf"
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}

func TestRandom(t *testing.T) {
	n, _ := strconv.Atoi(os.Getenv("COUNT"))
	seed, _ := strconv.ParseInt(os.Getenv("SEED"), 10, 64)
	r = rand.New(rand.NewSource(seed))
	store := promqltest.LoadedStorage(t, load)
	engine := promqltest.NewTestEngine(t, false, 0, 1000000)
	out, _ := os.Create(os.Getenv("OUT"))
	defer out.Close()
	fmt.Fprint(out, load+"\n")
	for kept := 0; kept < n; {
		expr := vec(1 + r.Intn(4))
		at := int64(pickAt())
		q, err := engine.NewInstantQuery(context.Background(), store, nil, expr, time.UnixMilli(at))
		if err != nil {
			continue
		}
		res := q.Exec(context.Background())
		if res.Err != nil {
			kept++
			fmt.Fprintf(out, "eval instant at %dms %s\n  expect fail\n\n", at, expr)
			continue
		}
		vector, ok := res.Value.(promql.Vector)
		if !ok {
			continue
		}
		// Most expressions choose nothing; some of those are enough.
		if len(vector) == 0 && r.Intn(3) > 0 {
			continue
		}
		kept++
		fmt.Fprintf(out, "eval instant at %dms %s\n", at, expr)
		warn, info := "no_warn", "no_info"
		for _, a := range res.Warnings.AsErrors() {
			if strings.HasPrefix(a.Error(), "PromQL warning") || !strings.HasPrefix(a.Error(), "PromQL info") {
				warn = "warn"
			} else {
				info = "info"
			}
		}
		fmt.Fprintf(out, "  expect %s\n  expect %s\n", warn, info)
		for _, s := range vector {
			labels := s.Metric.String()
			if s.H != nil {
				fmt.Fprintf(out, "  %s %s\n", labels, promqltest.HistogramTestExpression(s.H))
			} else {
				fmt.Fprintf(out, "  %s %s\n", labels, float(s.F))
			}
		}
		fmt.Fprintln(out)
	}
}

func pickAt() int { return []int{600000, 900000, 1200000, 1500000, 1725000, 1810000}[r.Intn(6)] }
