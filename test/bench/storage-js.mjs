// What an app would write: node's fetch into the official Storage client.
//   node storage-js.mjs SOURCE STORAGE_URL
import { StorageClient } from '@supabase/storage-js';

const [source, url] = process.argv.slice(2);
const media = await fetch(source);
const { error } = await new StorageClient(url, { apikey: 'bench', Authorization: 'Bearer bench' })
  .from('videos').upload('x.mp4', media.body, { contentType: 'video/mp4', upsert: true, duplex: 'half' });
if (error) throw error;
