-- What an operator types once: the extension, the table, the polling interval.
CREATE EXTENSION pg_cron;
CREATE EXTENSION vibevideo;
SELECT vibevideo.attach('public.vibelogs', prompt_column => 'content');
SELECT vibevideo.schedule();
