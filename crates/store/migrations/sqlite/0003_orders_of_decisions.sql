-- What became of the orders of a decision. Most orders of a signal have none, and are not in it.
CREATE INDEX orders_decision ON orders (decision_id, created_us) WHERE decision_id IS NOT NULL;

-- Why the order stands as it does, code and text as JSON, where its newest report says so. Null in
-- the rows of before.
ALTER TABLE orders ADD COLUMN reason TEXT;
