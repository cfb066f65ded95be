package store

import "context"

// ListAll calls each with every key below prefix, in order, and returns the revision that all of them were
// read at. It holds one page at a time. An error of each ends it. opts.Limit is the size of a page.
func ListAll(ctx context.Context, s Interface, prefix string, opts ListOptions, each func(KV) error) (revision int64, err error) {
	for {
		page, err := s.List(ctx, prefix, opts)
		if err != nil {
			return 0, err
		}
		for _, kv := range page.KVs {
			if err := each(kv); err != nil {
				return 0, err
			}
		}
		if !page.More || len(page.KVs) == 0 {
			return page.Revision, nil
		}
		opts.Revision = page.Revision
		opts.After = page.KVs[len(page.KVs)-1].Key
	}
}
