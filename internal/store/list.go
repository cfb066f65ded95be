package store

import (
	"context"
	"sync"
)

// ListAll calls each for every key below prefix, in order, and returns the revision at which all of them were read. The
// next page is fetched while each processes one, so two pages are in memory. An error from each ends the listing.
// opts.Limit is the page size.
func ListAll(ctx context.Context, s Interface, prefix string, opts ListOptions, each func(KV) error) (revision int64, err error) {
	ctx, cancel := context.WithCancel(ctx)
	var fetching sync.WaitGroup
	defer fetching.Wait()
	defer cancel()
	page, err := s.List(ctx, prefix, opts)
	for err == nil {
		more := page.More && len(page.KVs) > 0
		var next Page
		var nextErr error
		if more {
			opts.Revision = page.Revision
			opts.After = page.KVs[len(page.KVs)-1].Key
			fetching.Go(func() { next, nextErr = s.List(ctx, prefix, opts) })
		}
		for _, kv := range page.KVs {
			if err := each(kv); err != nil {
				return 0, err
			}
		}
		if !more {
			return page.Revision, nil
		}
		fetching.Wait()
		page, err = next, nextErr
	}
	return 0, err
}
