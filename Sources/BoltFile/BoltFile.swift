// bbolt
