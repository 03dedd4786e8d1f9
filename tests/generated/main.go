// Jobs by quicktype's structs, which write null for whatever is not given: `jobs`, or `results < RESULTS`.
package main

import (
	"bufio"
	"fmt"
	"os"

	"generated/job"
	"generated/result"
)

func text(value string) *string { return &value }

func main() {
	if os.Args[1] == "results" {
		read()
		return
	}
	number, id := int64(12345), text("191121684")
	queries := []struct {
		provider string
		query    job.Query
	}{
		{"antsomi", job.Query{Phone: &job.TelephoneNumbers{String: text("+84 907 089 782")}}},
		{"omeda", job.Query{CustomerID: &job.CustomerID{Integer: &number}}},
		{"kapture", job.Query{CustomerID: &job.CustomerID{String: id}}},
		{"egain", job.Query{Phone: &job.TelephoneNumbers{String: text("14082343456102")}}},
		{"plume", job.Query{AccountID: text("acc-1001")}},
	}
	lane := job.Bulk
	for _, it := range queries {
		one := job.LookupJob{
			ID: text("quicktype-go-" + it.provider), Provider: text(it.provider), Query: it.query,
			Options: &job.Options{}, Lane: &lane,
		}
		line, err := one.Marshal()
		check(err)
		fmt.Println(string(line))
	}
}

func read() {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		it, err := result.UnmarshalLookupResult(lines.Bytes())
		check(err)
		fmt.Println(it.JobID, it.Status, it.Customers[0].CustomerID)
	}
	check(lines.Err())
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
